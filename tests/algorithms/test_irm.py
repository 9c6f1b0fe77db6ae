"""IRM against its penalty differentiated by the scale itself, domain by domain."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from descents import assert_descends
from tiny_hosts import tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network

FULL = {"irm_penalty_anneal_iters": 0, "irm_lambda": 7.0}


def objective(network: Network, batch: Batch, weight: float) -> torch.Tensor:
    """The definition, with a scale of the logits that autograd differentiates by."""
    losses, penalties = [], []
    for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True):
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        logits = network(minibatch.images, mask)
        slopes = []
        for half in (slice(0, None, 2), slice(1, None, 2)):
            loss = F.cross_entropy(scale * logits[half], minibatch.labels[half])
            slopes += torch.autograd.grad(loss, scale, create_graph=True)
        penalties.append(slopes[0] * slopes[1])
        losses.append(F.cross_entropy(logits, minibatch.labels))
    return sum(losses) / len(losses) + weight * sum(penalties) / len(penalties)


@pytest.mark.parametrize("rows", [4, 5])
def test_a_step_descends_the_mean_loss_and_the_penalty_of_its_halves(rows: int) -> None:
    batch = tiny_batch(rows=rows, dropout=0.5)
    assert_descends(tiny_host("IRM", **FULL), batch, lambda network: objective(network, batch, 7.0))


def test_before_the_warm_up_ends_the_weight_is_one() -> None:
    batch = tiny_batch()
    host = tiny_host("IRM", irm_penalty_anneal_iters=1, irm_lambda=7.0)
    assert_descends(host, batch, lambda network: objective(network, batch, 1.0))
