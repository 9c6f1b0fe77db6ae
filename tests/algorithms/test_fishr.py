"""Fishr against gradients that autograd takes image by image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from descents import assert_descends
from tiny_hosts import tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network

FULL = {"fishr_penalty_anneal_iters": 0, "fishr_lambda": 50.0, "fishr_ema": 0.9}


def variances(network: Network, batch: Batch) -> list[torch.Tensor]:
    """Of each domain, with their graph: one backward an image."""
    weights = list(network.classifier.parameters())
    found = []
    for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True):
        gradients = []
        for row in range(len(minibatch.labels)):
            rows = slice(row, row + 1)
            logits = network(minibatch.images[rows], None if mask is None else mask[rows])
            parts = torch.autograd.grad(F.cross_entropy(logits, minibatch.labels[rows]), weights, create_graph=True)
            gradients.append(torch.cat([part.flatten() for part in parts]))
        mean = sum(gradients) / len(gradients)
        found.append(sum((each - mean) ** 2 for each in gradients) / len(gradients))
    return found


def objective(
    network: Network, batch: Batch, weight: float, ema: float, past: list[torch.Tensor] | None = None
) -> torch.Tensor:
    averages = [(1 - ema) * now for now in variances(network, batch)]
    if past is not None:
        averages = [now + ema * before for now, before in zip(averages, past, strict=True)]
    scaled = [each / (1 - ema) for each in averages]
    mean = sum(scaled) / len(scaled)
    penalty = sum(((each - mean) ** 2).mean() for each in scaled) / len(scaled)
    return F.cross_entropy(network(batch.images, batch.mask), batch.labels) + weight * penalty


def test_a_step_descends_the_distance_of_the_domains_gradient_variances() -> None:
    batch = tiny_batch(dropout=0.5)
    assert_descends(tiny_host("Fishr", **FULL), batch, lambda network: objective(network, batch, 50.0, 0.9))


def test_a_later_step_takes_the_moving_averages_into_account() -> None:
    host = tiny_host("Fishr", **FULL)
    past = [0.1 * each.detach() for each in variances(host.network, tiny_batch(0))]
    host.update(tiny_batch(0))
    torch.testing.assert_close(host.get_buffer("averages"), torch.stack(past))
    expected = objective(host.network, tiny_batch(1), 50.0, 0.9, past)
    gradients = torch.autograd.grad(expected, list(host.network.parameters()))
    assert host.update(tiny_batch(1)).item() == pytest.approx(expected.item())
    for parameter, gradient in zip(host.network.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_during_the_warm_up_it_is_erm_that_keeps_the_averages_up() -> None:
    batch, host = tiny_batch(), tiny_host("Fishr", **{**FULL, "fishr_penalty_anneal_iters": 1})
    expected = torch.stack([0.1 * each.detach() for each in variances(host.network, batch)])
    assert_descends(host, batch, lambda network: F.cross_entropy(network(batch.images), batch.labels))
    torch.testing.assert_close(host.get_buffer("averages"), expected)
