"""VREx against the variance of the domains' losses, written out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from descents import assert_descends
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
