"""Builds each network of a sweep once before its runs do, where planning cannot know whether that works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from gga_sweep.errors import Fault, InputError
from gga_sweep.networks.choice import is_weights_file, published_file
from gga_sweep.networks.network import build_network
from gga_sweep.networks.published import cached_file
from gga_sweep.networks.timm_models import is_timm
from gga_sweep.spec.arms import Arm
from gga_sweep.spec.models import TrainingSettings
from gga_sweep.spec.plan import SweepSpec


def require_networks(sweep: SweepSpec) -> None:
    """Build the networks of timm, those with a weights file, and those of which some blocks are trained.

    Published weights are left out: other machines may train the runs, see `lacking_weights`.

    Raises:
        InputError: an unknown network, images of another size than it requires, no pooled features, weights of another
            architecture, or too many blocks.
    """
    faults: list[Fault] = []
    for arm, training in _distinct(sweep):
        file = training.weights if training.weights and is_weights_file(training.weights) else None
        if not (is_timm(training.network) or file or training.trainable.startswith("last:")):
            continue
        channels, height, width = sweep.dataset.image_shape
        shape = channels + arm.declared.load().EXTRA_CHANNELS, height, width
        try:
            build_network(training.network, shape, 2, file, torch.Generator(), training.trainable)
        except InputError as error:
            faults += (replace(fault, field=arm.field_of(fault.field)) for fault in error.faults)
    if faults:
        raise InputError(faults, sweep.source)


def published_choices(sweep: SweepSpec) -> dict[str, tuple[str, str]]:
    """Network and published weights of each arm that has such weights, by the field that names the weights."""
    return {
        f"{arm.field_of('training.weights')}: {training.network}": (training.network, training.weights)
        for arm, training in _distinct(sweep)
        if training.weights is not None and not is_weights_file(training.weights)
    }


def lacking_weights(choices: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Why some published weights cannot be read on this machine, by the key of the choice."""
    errors = {}
    for key, choice in choices.items():
        try:
            cached_file(published_file(*choice))
        except InputError as error:
            errors[key] = error.faults[0].rule
    return errors


def _distinct(sweep: SweepSpec) -> Iterator[tuple[Arm, TrainingSettings]]:
    """The first arm of each network, algorithm and choice of weights, with its settings."""
    seen = set()
    for arm in sweep.arms:
        training = sweep.training_of(arm)
        choice = (arm.algorithm, training.network, training.weights, training.trainable)
        if choice not in seen:
            seen.add(choice)
            yield arm, training
