"""Which network and which weights: checked without loading torch, so that planning stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from gga_sweep.errors import Fault, InputError

if TYPE_CHECKING:
    from torch import nn

RESNETS = ("resnet18", "resnet50")
NETWORKS = ("small-cnn", *RESNETS)

PUBLISHED_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "resnet18": ("IMAGENET1K_V1",),
    "resnet50": ("IMAGENET1K_V1", "IMAGENET1K_V2"),
}
"""Torchvision's, by name. Not its `DEFAULT`: that names other weights in another version of torchvision."""


LAYERWISE_BATCH = 24
"""Images a domain up to which a CPU computes the domains' gradients layer by layer, see `default_domain_gradients`."""


def network_faults(name: str, channels: int | None, weights: str | None) -> list[Fault]:
    """What is wrong with a choice of network, without building it."""
    if name not in NETWORKS:
        try:
            named_featurizer(name)
        except InputError as error:
            return list(error.faults)
        return [] if weights is None else _weights_faults(name, weights)
    faults = []
    if name in RESNETS and channels not in (3, None):
        faults.append(Fault("training.network", f"{name} needs images of 3 channels, got {channels}"))
    if weights is not None:
        faults.extend(_weights_faults(name, weights))
    return faults


def default_domain_gradients(
    network: str, freeze_batch_norm: bool, batch_size: object, on_gpu: bool
) -> Literal["loop", "layerwise"]:
    """How gradients of single domains are computed where a sweep file does not say.

    A rule and not a stopwatch, since it decides the last bits of a run. It follows `make bench`: on a CPU, layer by
    layer is faster while a domain's batch is small. Of a GPU nothing was measured yet, and of a network from elsewhere
    nobody knows here whether its layers can be split by domain.
    """
    splits = network in NETWORKS and not couples_images(network, freeze_batch_norm)
    small = isinstance(batch_size, int | float) and batch_size <= LAYERWISE_BATCH
    return "layerwise" if splits and small and not on_gpu else "loop"


def couples_images(network: str, freeze_batch_norm: bool) -> bool:
    """Whether an image's prediction is known to depend on the others of its batch: batch norm with their statistics."""
    return network in RESNETS and not freeze_batch_norm


def lacks_batch_norm(network: str) -> bool:
    """Whether a network is known to have none; of one from elsewhere nobody knows here."""
    return network == "small-cnn"


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
        try:
            exists = Path(weights).is_file()
        except OSError:  # too long a name, or a folder that may not be entered
            exists = False
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
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError([Fault("training.network", f"cannot import it: {error}", name)]) from error
    if not callable(found):
        raise InputError([Fault("training.network", "must name a callable (input_shape)", name)])
    return cast("Callable[[tuple[int, int, int]], tuple[nn.Module, int]]", found)
