"""GroupDRO against weights and losses worked out with numpy."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from descents import assert_descends, assert_goes_on, assert_is_erm
from tiny_hosts import tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network


def losses_of(network: Network, batch: Batch) -> list[torch.Tensor]:
    return [
        F.cross_entropy(network(minibatch.images, mask), minibatch.labels)
        for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True)
    ]


def test_a_step_descends_the_losses_weighed_by_how_high_they_are() -> None:
    batch, host = tiny_batch(dropout=0.5), tiny_host("GroupDRO", groupdro_eta=2.0)
    losses = np.array([loss.item() for loss in losses_of(host.network, batch)])
    weights = np.exp(2.0 * losses) / np.exp(2.0 * losses).sum()
    assert_descends(
        host,
        batch,
        lambda network: sum(q * loss for q, loss in zip(weights, losses_of(network, batch), strict=True)),
    )
    np.testing.assert_allclose(host.get_buffer("q").numpy(), weights, rtol=1e-12)


def test_weights_stay_from_step_to_step() -> None:
    host = tiny_host("GroupDRO", groupdro_eta=2.0)
    total = np.zeros(3)
    for step in range(3):
        total += [loss.item() for loss in losses_of(host.network, tiny_batch(step))]
        host.update(tiny_batch(step))
    expected = np.exp(2.0 * total) / np.exp(2.0 * total).sum()
    np.testing.assert_allclose(host.get_buffer("q").numpy(), expected, rtol=1e-10)


def test_without_a_step_size_it_is_erm() -> None:
    assert_is_erm(tiny_host("GroupDRO", groupdro_eta=0.0), tolerance=1e-12)


def test_the_step_size_changes_the_weights() -> None:
    ends = []
    for eta in (0.01, 1.0):
        host = tiny_host("GroupDRO", groupdro_eta=eta)
        host.update(tiny_batch())
        ends.append(host.network.classifier.weight)
    assert not torch.equal(*ends)


def test_it_goes_on_from_a_saved_state() -> None:
    assert_goes_on(lambda: tiny_host("GroupDRO", groupdro_eta=1.0), [tiny_batch(step) for step in range(4)])
