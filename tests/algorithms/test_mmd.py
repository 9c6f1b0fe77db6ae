"""MMD against kernels summed up image by image."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from descents import assert_descends
from tiny_hosts import tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.mmd import gaussian_kernels, mean_discrepancy
from gga_sweep.networks.network import Network


def mean_kernel(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    values = [
        sum(torch.exp(-gamma * ((x - y) ** 2).sum()) for gamma in (0.001, 0.01, 0.1, 1, 10, 100, 1000))
        for x in one
        for y in other
    ]
    return sum(values) / len(values)


def loss_by_definition(network: Network, batch: Batch, gamma: float) -> torch.Tensor:
    features, losses = [], []
    for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True):
        rows = network.featurizer(minibatch.images)
        features.append(rows if mask is None else rows * mask)
        losses.append(F.cross_entropy(network.classifier(features[-1]), minibatch.labels))
    pairs = [
        mean_kernel(one, one) + mean_kernel(other, other) - 2 * mean_kernel(one, other)
        for one, other in itertools.combinations(features, 2)
    ]
    return sum(losses) / len(losses) + gamma * sum(pairs) / len(pairs)


@pytest.mark.parametrize(("domains", "dropout", "gamma"), [(2, 0.0, 1.0), (3, 0.4, 1.0), (4, 0.0, 7.0)])
def test_a_step_descends_cross_entropy_and_the_mean_discrepancy_of_pairs(
    domains: int, dropout: float, gamma: float
) -> None:
    batch = tiny_batch(3, domains, dropout=dropout)
    host = tiny_host("MMD", n_domains=domains, mmd_gamma=gamma)
    assert_descends(host, batch, lambda network: loss_by_definition(network, batch, gamma))


def test_equal_domains_have_no_discrepancy_and_far_ones_have_the_most() -> None:
    domain = torch.rand(4, 3, dtype=torch.float64)
    assert float(mean_discrepancy(torch.cat([domain, domain]), 2)) == pytest.approx(0, abs=1e-12)
    apart = torch.cat([torch.zeros(4, 3), torch.full((4, 3), 1e6)]).double()
    assert float(mean_discrepancy(apart, 2)) == pytest.approx(2 * 7)


def test_in_single_precision_the_distance_to_itself_is_zero() -> None:
    features = torch.rand(6, 200, generator=torch.Generator().manual_seed(0)).mul(30).requires_grad_()
    kernels = gaussian_kernels(features)
    assert torch.equal(kernels.diagonal(), torch.full((6,), 7.0))
    (slope,) = torch.autograd.grad(kernels.diagonal().sum(), features)
    assert torch.equal(slope, torch.zeros_like(slope))
