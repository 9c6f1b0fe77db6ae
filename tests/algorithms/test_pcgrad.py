"""PCGrad against projections of whole vectors, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from by_domain import Gradients, assert_steps_along, domain_gradients_by_hand
from tiny_hosts import tiny_batch, tiny_host

from gga_sweep.algorithms.batch import Batch


def projected_mean(gradients: Sequence[Gradients], batch: Batch) -> Gradients:
    """Algorithm 1 of the paper on flat vectors, the others in the order that the step draws."""
    flat = [np.concatenate([part.ravel() for part in each]) for each in gradients]
    numbers = batch.numbers("projection order")
    total = np.zeros_like(flat[0])
    for i, gradient in enumerate(flat):
        projected = gradient.copy()
        for j in numbers.permutation([j for j in range(len(flat)) if j != i]):
            along = projected @ flat[j]
            if along < 0:
                projected = projected - along / (flat[j] @ flat[j]) * flat[j]
        total += projected
    sizes = [part.size for part in gradients[0]]
    parts = np.split(total / len(flat), np.cumsum(sizes)[:-1])
    return [part.reshape(like.shape) for part, like in zip(parts, gradients[0], strict=True)]


@pytest.mark.parametrize("step", range(4))
def test_a_step_goes_along_the_mean_of_projected_gradients(step: int) -> None:
    batch = tiny_batch(step, n_domains=6, rows=2, dropout=0.5)
    host = tiny_host("PCGrad", n_domains=6)
    assert_steps_along(host, batch, lambda gradients: projected_mean(gradients, batch))


def test_these_gradients_are_in_conflict_and_the_order_of_projections_matters() -> None:
    batch = tiny_batch(0, n_domains=6, rows=2, dropout=0.5)
    gradients, _ = domain_gradients_by_hand(tiny_host("PCGrad", n_domains=6).network, batch)
    flat = np.stack([np.concatenate([part.ravel() for part in each]) for each in gradients])
    assert (flat @ flat.T).min() < 0
    other = Batch(batch.minibatches, lambda domain, _: batch.masks[domain], lambda _: np.random.default_rng(1))
    one, two = projected_mean(gradients, batch), projected_mean(gradients, other)
    assert not np.allclose(one[0], two[0], rtol=1e-6)
