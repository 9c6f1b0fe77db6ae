"""Mixup against losses written out pair by pair, and image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from descents import assert_descends, assert_same
from tiny_hosts import tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network
from gga_sweep.seeding import stream


def mean_over_pairs(network: Network, batch: Batch, ring: list[int], lams: list[float]) -> torch.Tensor:
    """Of the mean over images of lam CE(x, y_i) + (1 - lam) CE(x, y_j), with the mask of domain i."""
    pairs = []
    for place, lam in enumerate(lams):
        i, j = ring[place], ring[(place + 1) % len(ring)]
        one, other, mask = batch.minibatches[i], batch.minibatches[j], batch.masks[i]
        images = []
        for row in range(len(one.labels)):
            mixed = lam * one.images[row] + (1 - lam) * other.images[row]
            features = network.featurizer(mixed[None])[0]
            logits = network.classifier(features if mask is None else features * mask[row])
            surprise = torch.logsumexp(logits, dim=0) - logits
            images.append(lam * surprise[one.labels[row]] + (1 - lam) * surprise[other.labels[row]])
        pairs.append(torch.stack(images).mean())
    return torch.stack(pairs).mean()


@pytest.mark.parametrize(("domains", "dropout", "alpha"), [(2, 0.0, 0.2), (3, 0.0, 1.0), (3, 0.4, 0.2), (5, 0.4, 3.0)])
def test_a_step_descends_the_mean_over_a_ring_of_pairs(domains: int, dropout: float, alpha: float) -> None:
    batch = tiny_batch(7, domains, dropout=dropout)
    ring = stream("Tiny", 0, "host", 7, "pairs").permutation(domains).tolist()
    lams = stream("Tiny", 0, "host", 7, "mixing").beta(alpha, alpha, domains).tolist()
    host = tiny_host("Mixup", n_domains=domains, mixup_alpha=alpha)
    assert_descends(host, batch, lambda network: mean_over_pairs(network, batch, ring, lams))


class OneWeight:
    """A generator whose Beta draws are all one number."""

    def __init__(self, weight: float, numbers: np.random.Generator) -> None:
        self._weight = weight
        self.permutation = numbers.permutation

    def beta(self, _a: float, _b: float, size: int) -> Any:
        return np.full(size, self._weight)


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_with_every_weight_1_or_every_weight_0_it_is_erm(weight: float) -> None:
    """Each domain is once the first and once the second of a pair."""
    mixup, erm, batch = tiny_host("Mixup"), tiny_host("ERM"), tiny_batch()

    def numbers(purpose: str) -> Any:
        return OneWeight(weight, batch.numbers(purpose))

    loss = mixup.update(Batch(batch.minibatches, lambda *_: None, numbers))
    assert float(loss) == pytest.approx(float(erm.update(batch)), rel=1e-12)
    assert_same(mixup, erm, tolerance=1e-8)
