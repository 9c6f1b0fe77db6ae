"""What follows from the declared traits of a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gga_sweep.networks.builtin import NETWORKS
from gga_sweep.networks.choice import (
    couples_images,
    default_domain_gradients,
    lacks_batch_norm,
    pools_features,
)
from gga_sweep.networks.network import build_network

OWN = "resnets:my_resnet18"


@pytest.mark.parametrize(
    ("network", "frozen", "batch_size", "n_domains", "on_gpu", "method"),
    [
        ("small-cnn", True, 16, 4, False, "layerwise"),
        ("small-cnn", False, 16, 4, False, "layerwise"),
        ("small-cnn", True, 17, 4, False, "loop"),
        ("small-cnn", True, 16, 3, False, "loop"),
        ("small-cnn", True, 8, 5, True, "loop"),
        ("resnet18", True, 16, 2, False, "layerwise"),
        ("resnet18", True, 17, 2, False, "loop"),
        ("resnet18", False, 8, 3, False, "loop"),
        ("resnet50", True, 8, 3, True, "loop"),
        ("resnet50", False, 8, 3, False, "loop"),
        (OWN, True, 8, 5, False, "loop"),
        (OWN, False, 8, 5, False, "loop"),
    ],
)
def test_small_uncoupled_batches_on_a_cpu_are_split_by_layer(
    network: str, frozen: bool, batch_size: int, n_domains: int, on_gpu: bool, method: str
) -> None:
    assert default_domain_gradients(network, frozen, batch_size, n_domains, on_gpu) == method


@pytest.mark.parametrize("name", NETWORKS)
def test_the_declared_traits_are_those_of_the_network(name: str) -> None:
    small, large = (build_network(name, (3, side, side), 2, None, torch.Generator()) for side in (28, 40))
    normalises = any(isinstance(each, nn.BatchNorm2d) for each in small.modules())
    assert lacks_batch_norm(name) == (not normalises)
    assert couples_images(name, freeze_batch_norm=False) == normalises
    assert not couples_images(name, freeze_batch_norm=True)
    sizes = [sum(each.numel() for each in network.parameters()) for network in (small, large)]
    assert pools_features(name) == (sizes[0] == sizes[1])


def test_a_network_of_an_installed_package_has_no_known_traits() -> None:
    assert not lacks_batch_norm(OWN)
    assert not pools_features(OWN)
    assert not couples_images(OWN, freeze_batch_norm=False)
