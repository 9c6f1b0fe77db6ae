"""SmallCNN, for images from 8 x 8 pixels on."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gga_sweep.networks.declaration import InputShape, NetworkSpec

if TYPE_CHECKING:
    from torch import nn

FEATURES = 64


def small_cnn(input_shape: InputShape, weights: str | None = None) -> tuple[nn.Module, int]:
    """Three 3x3 convolutions of stride 2 with group norm, then a linear layer: (n, channels, h, w) -> (n, 64).

    Group norm and not batch norm, so that no statistics couple the images of a minibatch.

    Args:
        input_shape: sides of at least 8.
        weights: none are published.

    Returns:
        The featurizer and the width of its features. Its `style_stages` are the modules after which MixStyle may mix,
        its `feature_stages` those whose outputs MIRO compares, its `trainable_blocks` the convolutions with their
        norms, and the linear layer.
    """
    from torch import nn

    def block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.ReLU()

    channels, height, width = input_shape
    cells = -(-height // 8) * -(-width // 8)
    layers = nn.Sequential(
        *block(channels, 16),
        *block(16, 32),
        *block(32, 64),
        nn.Flatten(),
        nn.Linear(64 * cells, FEATURES),
        nn.ReLU(),
    )
    featurizer = nn.Sequential(OrderedDict(layers=layers))
    featurizer.style_stages = (layers[2], layers[5])  # type: ignore[assignment]  # the ends of the first two blocks
    featurizer.feature_stages = (layers[2], layers[5], layers[8])  # type: ignore[assignment]  # of all three
    parts = layers[:2], layers[3:5], layers[6:8], layers[10:]
    featurizer.trainable_blocks = tuple(tuple(part.parameters()) for part in parts)  # type: ignore[assignment]
    return featurizer, FEATURES


NETWORKS = (
    NetworkSpec(name="small-cnn", build=small_cnn, has_batch_norm=False, splits_by_layer=True, polar_pixels=20_000),
)
