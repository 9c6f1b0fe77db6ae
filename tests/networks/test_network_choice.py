"""What is decided by a network's name alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gga_sweep.networks.builtin import NETWORKS
from gga_sweep.networks.choice import couples_images, default_domain_gradients, lacks_batch_norm
from gga_sweep.networks.network import build_network

OWN = "resnets:my_resnet18"


@pytest.mark.parametrize(
    ("network", "frozen", "batch_size", "on_gpu", "method"),
    [
        ("small-cnn", True, 24, False, "layerwise"),
        ("small-cnn", False, 24, False, "layerwise"),
        ("small-cnn", True, 25, False, "loop"),
        ("small-cnn", True, 8, True, "loop"),
        ("resnet18", True, 8, False, "layerwise"),
        ("resnet18", False, 8, False, "loop"),
        ("resnet50", True, 32, True, "loop"),
        ("resnet50", False, 8, False, "loop"),
        (OWN, True, 8, False, "loop"),
        (OWN, False, 8, False, "loop"),
    ],
)
def test_small_batches_on_a_cpu_are_split_by_layer_where_layers_are_known_and_images_are_not_coupled(
    network: str, frozen: bool, batch_size: int, on_gpu: bool, method: str
) -> None:
    assert default_domain_gradients(network, frozen, batch_size, on_gpu) == method


def test_batch_statistics_couple_the_images_of_a_batch() -> None:
    assert [name for name in (*NETWORKS, OWN) if couples_images(name, freeze_batch_norm=False)] == [
        "resnet18",
        "resnet50",
    ]
    assert not any(couples_images(name, freeze_batch_norm=True) for name in (*NETWORKS, OWN))


def test_of_the_known_networks_small_cnn_alone_lacks_batch_norm() -> None:
    for name in NETWORKS:
        network = build_network(name, (3, 28, 28), 2, None, torch.Generator())
        assert lacks_batch_norm(name) == (not any(isinstance(each, nn.BatchNorm2d) for each in network.modules()))
    assert not lacks_batch_norm(OWN)
