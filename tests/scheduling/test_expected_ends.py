"""What is expected of early stopping, against what follows from its rule for runs in any order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gga_sweep.scheduling.expected_ends import expected_ends
from gga_sweep.spec import SweepSpec, load


def sweep_of(draws: int, **fields: Any) -> SweepSpec:
    content = {
        "name": "ends",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{"algorithm": "ERM"}],
        "draws": draws,
        "search_space": {"lr": {"loguniform": [1e-3, 1e-1]}},
        "training": {"steps": 100, "evaluate_every": 10},
        "early_stopping": {"reduction_factor": 2, "grace_period": 51},
        **fields,
    }
    return load(content, storage=Path("nowhere"))


@pytest.mark.parametrize(("reduction", "draws"), [(2, 2), (2, 9), (3, 9)])
def test_of_runs_in_any_order_as_many_end_as_are_not_among_the_best_so_far(reduction: int, draws: int) -> None:
    found = expected_ends(sweep_of(draws, early_stopping={"reduction_factor": reduction, "grace_period": 51}))
    # Run n is among the best max(1, n // reduction) of n with that probability; the first always goes on.
    ended = sum(1 - max(1, n // reduction) / n for n in range(2, draws + 1)) / draws
    assert found == {51: pytest.approx(ended, abs=0.03)}


def test_draws_that_are_trained_side_by_side_are_compared_with_those_before() -> None:
    one_by_one = expected_ends(sweep_of(8))
    together = expected_ends(sweep_of(8, search="tpe", adaptive={"n_startup_trials": 4, "at_once": 4}))
    assert together[51] < one_by_one[51]


def test_runs_that_go_on_meet_the_next_rung() -> None:
    found = expected_ends(sweep_of(9, early_stopping={"reduction_factor": 2, "grace_period": 21}))
    assert list(found) == [21, 51, 91]
    assert sum(found.values()) < 1


def test_without_early_stopping_no_run_ends_early() -> None:
    assert expected_ends(sweep_of(4, early_stopping=None)) == {}
