"""The declaration of a built-in network. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from gga_sweep.networks.published import PublishedFile

InputShape = tuple[int, int, int]
"""(channels, height, width) of an image."""

POLAR_PIXELS = 400_000
"""As measured with ResNet-18 and ResNet-50 on a CPU (`tests/benchmarks/algorithm_cost.py`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """A built-in network.

    Args:
        name: as sweep files write it.
        build: (shape of an image, name of published weights or None) -> (featurizer, width of its features). Loads
            torch when it is called.
        has_batch_norm: whether its batch statistics couple the images of a batch, unless frozen.
        splits_by_layer: whether domain gradients can be computed layer by layer.
        channels: of the images that it accepts in a sweep; None for any number. An algorithm may add channels: the
            first convolution then repeats its weights.
        weights: names of published weights, the first of which `pretrained` means.
        published: a name of published weights -> where they are.
        pools_features: whether its parameters are as many, and cost as much, whatever the size of an image.
        polar_pixels: pixels of images whose forward and backward take as long as the polar factors of all its weights.
        in_domainbed: whether DomainBed has the same featurizer under the same tensor names.
    """

    name: str
    build: Callable[[InputShape, str | None], tuple[nn.Module, int]]
    has_batch_norm: bool
    splits_by_layer: bool
    channels: int | None = None
    weights: tuple[str, ...] = ()
    published: Callable[[str], PublishedFile] | None = None
    pools_features: bool = False
    polar_pixels: int = POLAR_PIXELS
    in_domainbed: bool = False
