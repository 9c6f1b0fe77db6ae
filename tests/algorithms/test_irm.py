"""IRM against its penalty differentiated by the scale itself, domain by domain."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from descents import assert_descends, assert_goes_on, assert_is_erm, steps_of_adam
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


def test_adam_starts_afresh_where_the_weight_becomes_full_and_only_there() -> None:
    assert steps_of_adam(tiny_host("IRM", irm_penalty_anneal_iters=2, irm_lambda=7.0), 5) == [1, 2, 1, 2, 3]


def test_without_weight_and_warm_up_it_is_erm() -> None:
    assert_is_erm(tiny_host("IRM", irm_penalty_anneal_iters=0, irm_lambda=0.0), tolerance=1e-12)


@pytest.mark.parametrize("change", [{"irm_lambda": 8.0}, {"irm_penalty_anneal_iters": 1}])
def test_each_hyperparameter_changes_the_weights(change: dict[str, float]) -> None:
    ends = []
    for host in (tiny_host("IRM", **FULL), tiny_host("IRM", **{**FULL, **change})):
        for step in range(2):
            host.update(tiny_batch(step))
        ends.append(host.network.classifier.weight)
    assert not torch.equal(*ends)


def test_it_goes_on_from_a_saved_state() -> None:
    assert_goes_on(lambda: tiny_host("IRM", irm_penalty_anneal_iters=2), [tiny_batch(step) for step in range(4)])
