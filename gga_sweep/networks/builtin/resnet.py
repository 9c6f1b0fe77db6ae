"""Torchvision's ResNets without their classification head."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gga_sweep.networks.declaration import InputShape, NetworkSpec
from gga_sweep.networks.published import PublishedFile, cached_file, load_file

if TYPE_CHECKING:
    from torch import nn


def resnet(name: str, input_shape: InputShape, weights: str | None) -> tuple[nn.Module, int]:
    """A ResNet and the width of its features. MixStyle may mix after its `style_stages`; MIRO
    compares the outputs of its `feature_stages`.

    Args:
        name: torchvision's.
        input_shape: of three channels.
        weights: torchvision's name of published weights, which are read from its cache; None for random ones.

    Raises:
        InputError: the weights are not in the cache.
    """
    from torch import nn
    from torchvision import models

    network = models.get_model(name)
    if weights is not None:
        network.load_state_dict(load_file(cached_file(published_resnet(name, weights))))
    features = network.fc.in_features
    network.fc = nn.Identity()
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    network.style_stages = stages[:3]
    network.feature_stages = (network.maxpool, *stages)
    network.trainable_blocks = tuple(tuple(block.parameters()) for stage in stages for block in stage)
    return network, features


def published_resnet(name: str, weights: str) -> PublishedFile:
    """Where torchvision's weights of that name are."""
    from torchvision import models

    return PublishedFile(name, weights, models.get_model_weights(name)[weights].url)


def _declared(name: str, *weights: str) -> NetworkSpec:
    """A ResNet with the names of torchvision's weights, but `DEFAULT`: what that names depends on its version."""
    return NetworkSpec(
        name=name,
        build=partial(resnet, name),
        has_batch_norm=True,
        splits_by_layer=True,
        channels=3,
        weights=weights,
        published=partial(published_resnet, name),
        pools_features=True,
        in_domainbed=True,
    )


NETWORKS = (
    _declared("resnet18", "IMAGENET1K_V1"),
    _declared("resnet50", "IMAGENET1K_V1", "IMAGENET1K_V2"),
)
