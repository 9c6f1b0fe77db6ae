"""Curves with bands over trial seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented_sweep import invented_sweep

from gga_sweep.records import RunRecords
from gga_sweep.report.plots.curves import curve_over_seeds
from gga_sweep.selection import SweepView


@given(st.lists(st.lists(st.floats(-1, 1), min_size=6, max_size=6), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_a_curve_is_the_mean_of_the_trial_seeds_means_and_its_band_their_range(
    table: Sequence[Sequence[float]],
) -> None:
    """Two runs a trial seed, three steps: (3 trial seeds, 2 runs x 3 steps)."""
    runs = invented_sweep(arms=("ERM",), test_domains=("0",), draws=2, troubled=False).records
    values = np.array(table).reshape(3, 2, 3)

    def points(run: RunRecords) -> list[tuple[int, float]]:
        return list(zip((5, 10, 15), values[run.cell.trial_seed, run.draws[0]].tolist(), strict=True))

    curve = curve_over_seeds(runs, points)
    by_seed = values.mean(axis=1)
    assert curve.steps == (5, 10, 15)
    assert curve.center == pytest.approx(by_seed.mean(axis=0), abs=1e-12)
    assert curve.low == pytest.approx(by_seed.min(axis=0), abs=1e-12)
    assert curve.high == pytest.approx(by_seed.max(axis=0), abs=1e-12)


def test_nan_stays_out_and_a_step_of_nothing_but_nan_is_absent(sweep_view: SweepView) -> None:
    runs = [run for run in sweep_view.records if run.cell.trial_seed < 2][:8]

    def points(run: RunRecords) -> list[tuple[int, float]]:
        return [(0, math.nan), (1, math.nan if run.draws == (0,) else 0.5)]

    curve = curve_over_seeds(runs, points)
    assert (curve.steps, curve.center) == ((1,), (0.5,))


def test_nothing_gives_an_empty_curve() -> None:
    assert curve_over_seeds([], lambda run: []).steps == ()
