"""Which network and which weights: checked without loading torch, so that planning stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gga_sweep.errors import Fault, InputError

if TYPE_CHECKING:
    from torch import nn

NETWORKS = ("small-cnn", "resnet18", "resnet50")

PUBLISHED_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "resnet18": ("IMAGENET1K_V1",),
    "resnet50": ("IMAGENET1K_V1", "IMAGENET1K_V2"),
}
"""Torchvision's, by name. Not its `DEFAULT`: that names other weights in another version of torchvision."""


def network_faults(name: str, channels: int | None, weights: str | None) -> list[Fault]:
    """What is wrong with a choice of network, without building it."""
    if name not in NETWORKS:
        try:
            named_featurizer(name)
        except InputError as error:
            return list(error.faults)
        return [] if weights is None else _weights_faults(name, weights)
    faults = []
    if name.startswith("resnet") and channels not in (3, None):
        faults.append(Fault("training.network", f"{name} needs images of 3 channels, got {channels}"))
    if weights is not None:
        faults.extend(_weights_faults(name, weights))
    return faults


def is_weights_file(weights: str) -> bool:
    """A path has a separator or a suffix; a torchvision weight name has neither."""
    return "/" in weights or "." in weights


def published_weights(network: str, weights: str) -> str:
    """Torchvision's own name of published weights.

    Raises:
        InputError: no such weights for this network.
    """
    name = "IMAGENET1K_V1" if weights == "imagenet" else weights
    known = PUBLISHED_WEIGHTS[network]
    if name not in known:
        allowed = ("imagenet", *known, "a state-dict file")
        raise InputError([Fault("training.weights", f"no such weights of {network}", weights, allowed)])
    return name


def _weights_faults(network: str, weights: str) -> list[Fault]:
    if is_weights_file(weights):
        exists = Path(weights).is_file()
        return [] if exists else [Fault("training.weights", "the weights file must exist", weights)]
    if network not in PUBLISHED_WEIGHTS:
        return [Fault("training.weights", f"{network} has no published weights; give a state-dict file", weights)]
    try:
        published_weights(network, weights)
    except InputError as error:
        return list(error.faults)
    return []


def named_featurizer(name: str) -> Callable[[tuple[int, int, int]], tuple[nn.Module, int]]:
    """What `module:attribute` names: a callable (input_shape) -> (featurizer, features).

    Raises:
        InputError: nothing to import there.
    """
    module, separator, attribute = name.partition(":")
    if not separator:
        raise InputError([Fault("training.network", "unknown network", name, (*NETWORKS, "module:attribute"))])
    try:
        return cast(
            "Callable[[tuple[int, int, int]], tuple[nn.Module, int]]",
            getattr(importlib.import_module(module), attribute),
        )
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError([Fault("training.network", f"cannot import it: {error}", name)]) from error
