"""Check a choice of network and weights, and read the network's traits. Loads no torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, cast

from gga_sweep.errors import Fault, InputError
from gga_sweep.networks.builtin import NETWORKS
from gga_sweep.networks.declaration import InputShape
from gga_sweep.networks.published import PRETRAINED, PublishedFile
from gga_sweep.networks.timm_models import (
    CHANNELS,
    PREFIX,
    is_timm,
    name_faults,
    pretrained_faults,
    published_timm_file,
)

if TYPE_CHECKING:
    from torch import nn

_OF_DOMAINBED_HEAD = "resnet50"
"""The network of timm that DomainBed at b93c22a starts from."""

LAYERWISE_BATCH = 16
"""Images a domain up to which a CPU computes the domains' gradients layer by layer, see `default_domain_gradients`."""

LAYERWISE_DOMAINS: Mapping[str, int] = MappingProxyType({"small-cnn": 4})
"""Training domains from which on it does so, by network; of others 2."""


def network_faults(name: str, channels: int | None, weights: str | None) -> list[Fault]:
    """The faults of a choice of network, found without building it."""
    if is_timm(name):
        faults = name_faults(name)
        if channels not in (None, CHANNELS):
            faults.append(Fault("training.network", f"{name} needs images of {CHANNELS} channels, got {channels}"))
        return faults if weights is None else [*faults, *_weights_faults(name, weights)]
    if name not in NETWORKS:
        try:
            named_featurizer(name)
        except InputError as error:
            return list(error.faults)
        return [] if weights is None else _weights_faults(name, weights)
    faults = []
    needed = NETWORKS[name].channels
    if None not in (needed, channels) and channels != needed:
        faults.append(Fault("training.network", f"{name} needs images of {needed} channels, got {channels}"))
    if weights is not None:
        faults.extend(_weights_faults(name, weights))
    return faults


def default_domain_gradients(
    network: str, freeze_batch_norm: bool, batch_size: object, n_domains: int, on_gpu: bool
) -> Literal["loop", "layerwise"]:
    """The default of `domain_gradients` in a sweep file.

    It decides the last bits of a run, so it is a rule and not a measurement. It follows `make bench` on several CPUs:
    layer by layer is faster while a domain's batch is small, with a small network only if there are several domains,
    whose separate forwards it saves. GPUs were not measured yet, and whether the layers of a network from an installed
    package can be split by domain is unknown.

    Args:
        batch_size: images a domain.
        n_domains: training domains, if one domain of the dataset is held out.
    """
    known = NETWORKS.get(network)
    splits = known is not None and known.splits_by_layer and not couples_images(network, freeze_batch_norm)
    small = isinstance(batch_size, int | float) and batch_size <= LAYERWISE_BATCH
    several = n_domains >= LAYERWISE_DOMAINS.get(network, 2)
    return "layerwise" if splits and small and several and not on_gpu else "loop"


def couples_images(network: str, freeze_batch_norm: bool) -> bool:
    """Whether batch statistics are known to make an image's prediction depend on the others of its batch."""
    return network in NETWORKS and NETWORKS[network].has_batch_norm and not freeze_batch_norm


def lacks_batch_norm(network: str) -> bool:
    """Whether a network is known to have none; False for one of an installed package."""
    return network in NETWORKS and not NETWORKS[network].has_batch_norm


def pools_features(network: str) -> bool:
    """Whether the cost of a network's parameters is known not to depend on the size of the images."""
    return network in NETWORKS and NETWORKS[network].pools_features


def is_in_domainbed(network: str) -> bool:
    """Whether DomainBed has the same featurizer under the same tensor names."""
    if is_timm(network):
        network = network.removeprefix(PREFIX).partition(".")[0]  # a ResNet of timm has torchvision's names
        return network == _OF_DOMAINBED_HEAD
    return network in NETWORKS and NETWORKS[network].in_domainbed


def is_weights_file(weights: str) -> bool:
    """A path has a separator or a suffix; a name of published weights has neither."""
    return "/" in weights or "." in weights


def published_weights(network: str, weights: str) -> str:
    """The own name of a built-in network's published weights.

    Raises:
        InputError: no such weights for this network.

    >>> published_weights("resnet50", "imagenet"), published_weights("resnet50", "pretrained")
    ('IMAGENET1K_V1', 'IMAGENET1K_V1')
    """
    known = NETWORKS[network].weights
    name = known[0] if known and weights in ("imagenet", PRETRAINED) else weights
    if name not in known:
        allowed = (PRETRAINED, "imagenet", *known, "a state-dict file")
        raise InputError([Fault("training.weights", f"no such weights of {network}", weights, allowed)])
    return name


def published_file(network: str, weights: str = PRETRAINED) -> PublishedFile:
    """Where published weights of a network are. Imports torchvision, or timm.

    Raises:
        InputError: unknown network, or no such weights.
    """
    if faults := network_faults(network, None, weights):
        raise InputError(faults)
    if is_timm(network):
        return published_timm_file(network)
    known = NETWORKS.get(network)
    if known is None or known.published is None:
        rule = f"{network} has no published weights; give a state-dict file"
        raise InputError([Fault("training.weights", rule, weights)])
    return known.published(published_weights(network, weights))


def _weights_faults(network: str, weights: str) -> list[Fault]:
    if is_weights_file(weights):
        try:
            exists = Path(weights).is_file()
        except OSError:  # too long a name, or a folder that may not be entered
            exists = False
        return [] if exists else [Fault("training.weights", "the weights file must exist", weights)]
    if is_timm(network):
        if weights == PRETRAINED:
            return pretrained_faults(network)
        allowed = ("random", PRETRAINED, "a state-dict file")
        return [Fault("training.weights", f"no such weights of {network}", weights, allowed)]
    if network not in NETWORKS or not NETWORKS[network].weights:
        return [Fault("training.weights", f"{network} has no published weights; give a state-dict file", weights)]
    try:
        published_weights(network, weights)
    except InputError as error:
        return list(error.faults)
    return []


def named_featurizer(name: str) -> Callable[[InputShape], tuple[nn.Module, int]]:
    """Import `module:attribute`: a callable (input_shape) -> (featurizer, features).

    Raises:
        InputError: unknown name, or nothing to import there.
    """
    module, separator, attribute = name.partition(":")
    if not separator:
        raise InputError(
            [Fault("training.network", "unknown network", name, (*NETWORKS, "timm/NAME", "module:attribute"))]
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError([Fault("training.network", f"cannot import it: {error}", name)]) from error
    if not callable(found):
        raise InputError([Fault("training.network", "must name a callable (input_shape)", name)])
    return cast("Callable[[InputShape], tuple[nn.Module, int]]", found)
