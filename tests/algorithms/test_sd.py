"""Spectral decoupling against its loss."""

from __future__ import annotations

import torch.nn.functional as F
from descents import assert_descends
from tiny_hosts import tiny_batch, tiny_host
from torch import Tensor

from gga_sweep.networks.network import Network


def test_a_step_descends_cross_entropy_and_the_mean_square_of_the_logits() -> None:
    batch = tiny_batch(dropout=0.5)

    def loss(network: Network) -> Tensor:
        logits = network(batch.images, batch.mask)
        squares = [logit**2 for row in logits for logit in row]
        return F.cross_entropy(logits, batch.labels) + 0.3 * sum(squares) / len(squares)

    assert_descends(tiny_host("SD", sd_reg=0.3), batch, loss)
