"""The gradient of each domain's mean cross-entropy, and a step of Adam along what becomes of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_hosts import adam_after, linear_network
from torch import nn

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network

Gradients = list[np.ndarray]
"""One array a parameter."""


class _TwoBiases(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = (nn.Parameter(torch.full((5,), value)) for value in (0.1, 0.2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + (self.one + self.other)


def network_whose_gradients_share_memory() -> Network:
    """Autograd gives the two biases the same tensor."""
    network = linear_network()
    network.featurizer.append(_TwoBiases().double())  # type: ignore[operator]
    return network


def domain_gradients_by_hand(network: Network, batch: Batch) -> tuple[list[Gradients], list[float]]:
    """Of each domain; and its loss."""
    gradients, losses = [], []
    for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True):
        loss = F.cross_entropy(network(minibatch.images, mask), minibatch.labels)
        gradients.append([each.numpy() for each in torch.autograd.grad(loss, list(network.parameters()))])
        losses.append(loss.item())
    return gradients, losses


def assert_steps_along(host: Algorithm, batch: Batch, combined: Callable[[Sequence[Gradients]], Gradients]) -> None:
    """A fresh host goes where Adam goes along the combined gradient."""
    network = copy.deepcopy(host.network)
    gradients, losses = domain_gradients_by_hand(network, batch)
    expected = combined(gradients)
    assert host.update(batch).item() == pytest.approx(np.mean(losses), rel=1e-10)
    for (name, before), gradient in zip(network.named_parameters(), expected, strict=True):
        now = host.network.get_parameter(name)
        torch.testing.assert_close(now.grad, torch.from_numpy(gradient), rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(now.detach(), adam_after(before.detach(), now.grad), rtol=1e-12, atol=1e-12)
