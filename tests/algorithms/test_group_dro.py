"""GroupDRO against weights and losses worked out with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from descents import assert_descends
from tiny_hosts import tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network


def losses_of(network: Network, batch: Batch) -> list[torch.Tensor]:
    return [
        F.cross_entropy(network(minibatch.images, mask), minibatch.labels)
        for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True)
    ]


@pytest.mark.parametrize(("mean", "divisor"), [(False, 1), (True, 3)])
def test_a_step_descends_the_losses_weighed_by_how_high_they_are(mean: bool, divisor: int) -> None:
    batch, host = tiny_batch(dropout=0.5), tiny_host("GroupDRO", groupdro_eta=2.0, groupdro_mean=mean)
    losses = np.array([loss.item() for loss in losses_of(host.network, batch)])
    weights = np.exp(2.0 * losses) / np.exp(2.0 * losses).sum()
    assert_descends(
        host,
        batch,
        lambda network: sum(q * loss for q, loss in zip(weights / divisor, losses_of(network, batch), strict=True)),
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
