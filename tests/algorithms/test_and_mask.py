"""AND-mask against masks and means worked out entry by entry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from by_domain import Gradients, assert_steps_along, network_whose_gradients_share_memory
from tiny_hosts import tiny_batch, tiny_host


def masked(gradients: Sequence[Gradients], tau: float) -> Gradients:
    result = []
    for of_domains in zip(*gradients, strict=True):
        masked = np.zeros_like(of_domains[0])
        kept = 0
        for place in np.ndindex(masked.shape):
            values = [each[place] for each in of_domains]
            if abs(sum(np.sign(value) for value in values) / len(values)) >= tau:
                masked[place] = sum(values) / len(values)
                kept += 1
        result.append(masked / (1e-10 + kept / masked.size))
    return result


@pytest.mark.parametrize("tau", [1.0, 0.6, 0.3])
def test_a_step_goes_along_the_mean_of_gradients_whose_signs_agree(tau: float) -> None:
    host = tiny_host("ANDMask", n_domains=5, andmask_tau=tau)
    assert_steps_along(host, tiny_batch(n_domains=5, dropout=0.5), lambda gradients: masked(gradients, tau))


def test_gradients_that_share_memory_are_not_overwritten() -> None:
    host = tiny_host("ANDMask", network_whose_gradients_share_memory())
    assert_steps_along(host, tiny_batch(), lambda gradients: masked(gradients, 1.0))
