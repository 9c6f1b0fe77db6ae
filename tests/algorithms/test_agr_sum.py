"""Agreement-sum against the mean of each entry's gradients, where they have one sign."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from by_domain import Gradients, assert_steps_along
from tiny_hosts import tiny_batch, tiny_host


def agreed_mean(gradients: Sequence[Gradients]) -> Gradients:
    result = []
    for of_domains in zip(*gradients, strict=True):
        combined = np.zeros_like(of_domains[0])
        for place in np.ndindex(combined.shape):
            values = [each[place] for each in of_domains]
            if all(value > 0 for value in values) or all(value < 0 for value in values):
                combined[place] = sum(values) / len(values)
        result.append(combined)
    return result


def test_a_step_goes_along_the_entries_that_all_domains_agree_on() -> None:
    assert_steps_along(tiny_host("AgrSum"), tiny_batch(dropout=0.5), agreed_mean)


def test_some_entries_agree_and_some_do_not() -> None:
    host = tiny_host("AgrSum")
    host.update(tiny_batch())
    assert host.network.featurizer[1].weight.grad is not None  # type: ignore[index]
    share = (host.network.featurizer[1].weight.grad != 0).double().mean().item()  # type: ignore[index]
    assert 0 < share < 1
