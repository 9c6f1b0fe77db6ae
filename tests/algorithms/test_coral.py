"""CORAL against means and covariances summed up entry by entry."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from descents import assert_descends
from tiny_hosts import FEATURES, tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network


def penalty_by_definition(features: list[torch.Tensor], paper_form: bool) -> torch.Tensor:
    means = [sum(rows) / len(rows) for rows in features]
    covariances = [
        sum(torch.outer(row - mean, row - mean) for row in rows) / (len(rows) - 1)
        for rows, mean in zip(features, means, strict=True)
    ]
    pairs = []
    for i, j in itertools.combinations(range(len(features)), 2):
        difference = ((covariances[i] - covariances[j]) ** 2).sum()
        if paper_form:
            pairs.append(difference / (4 * FEATURES**2))
        else:
            pairs.append(((means[i] - means[j]) ** 2).sum() / FEATURES + difference / FEATURES**2)
    return sum(pairs) / len(pairs)


def loss_by_definition(network: Network, batch: Batch, gamma: float, paper_form: bool) -> torch.Tensor:
    features, losses = [], []
    for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True):
        rows = network.featurizer(minibatch.images)
        features.append(rows if mask is None else rows * mask)
        losses.append(F.cross_entropy(network.classifier(features[-1]), minibatch.labels))
    return sum(losses) / len(losses) + gamma * penalty_by_definition(features, paper_form)


@pytest.mark.parametrize("paper_form", [False, True])
@pytest.mark.parametrize(
    ("domains", "rows", "dropout", "gamma"), [(2, 2, 0.0, 1.0), (3, 4, 0.4, 1.0), (4, 4, 0.0, 7.0)]
)
def test_a_step_descends_cross_entropy_and_the_mean_penalty_of_pairs(
    domains: int, rows: int, dropout: float, gamma: float, paper_form: bool
) -> None:
    batch = tiny_batch(3, domains, rows, dropout=dropout)
    host = tiny_host("CORAL", n_domains=domains, mmd_gamma=gamma, paper_form=paper_form)
    assert_descends(host, batch, lambda network: loss_by_definition(network, batch, gamma, paper_form))
