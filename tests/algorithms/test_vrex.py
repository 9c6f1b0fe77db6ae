"""VREx against the variance of the domains' losses, written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from descents import assert_descends, assert_goes_on, assert_is_erm, steps_of_adam
from tiny_hosts import tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network

FULL = {"vrex_penalty_anneal_iters": 0, "vrex_lambda": 7.0}


def objective(network: Network, batch: Batch, weight: float) -> torch.Tensor:
    losses = [
        F.cross_entropy(network(minibatch.images, mask), minibatch.labels)
        for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True)
    ]
    mean = sum(losses) / len(losses)
    return mean + weight * sum((loss - mean) ** 2 for loss in losses) / len(losses)


def test_a_step_descends_mean_and_variance_of_the_domains_losses() -> None:
    batch = tiny_batch(dropout=0.5)
    assert_descends(tiny_host("VREx", **FULL), batch, lambda network: objective(network, batch, 7.0))


def test_before_the_warm_up_ends_the_weight_is_one() -> None:
    batch = tiny_batch()
    host = tiny_host("VREx", vrex_penalty_anneal_iters=1, vrex_lambda=7.0)
    assert_descends(host, batch, lambda network: objective(network, batch, 1.0))


def test_adam_starts_afresh_where_the_weight_becomes_full_and_only_there() -> None:
    assert steps_of_adam(tiny_host("VREx", vrex_penalty_anneal_iters=1, vrex_lambda=7.0), 4) == [1, 1, 2, 3]


def test_without_weight_and_warm_up_it_is_erm() -> None:
    assert_is_erm(tiny_host("VREx", vrex_penalty_anneal_iters=0, vrex_lambda=0.0), tolerance=1e-12)


@pytest.mark.parametrize("change", [{"vrex_lambda": 8.0}, {"vrex_penalty_anneal_iters": 1}])
def test_each_hyperparameter_changes_the_weights(change: dict[str, float]) -> None:
    ends = []
    for host in (tiny_host("VREx", **FULL), tiny_host("VREx", **{**FULL, **change})):
        for step in range(2):
            host.update(tiny_batch(step))
        ends.append(host.network.classifier.weight)
    assert not torch.equal(*ends)


def test_it_goes_on_from_a_saved_state() -> None:
    assert_goes_on(lambda: tiny_host("VREx", vrex_penalty_anneal_iters=2), [tiny_batch(step) for step in range(4)])
