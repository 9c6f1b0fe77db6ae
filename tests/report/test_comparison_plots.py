"""What the plots of the comparison draw is what it holds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from invented_sweep import invented_comparison, invented_sweep
from matplotlib.patches import Rectangle

from gga_sweep.report.comparison_plots import accuracy_against_alignment, cost_by_phase
from gga_sweep.selection import PHASES, Comparison, SweepView


def test_each_trial_seed_of_a_searching_arm_is_a_numbered_mark(sweep_view: SweepView, comparison: Comparison) -> None:
    figure = accuracy_against_alignment(sweep_view, comparison)
    assert figure is not None
    for axes, gains in zip(figure.axes, comparison.gains, strict=True):
        *_, marks = axes.lines  # the first two are the zero lines
        assert np.asarray(marks.get_xdata()) == pytest.approx(gains.alignment_gained)
        assert np.asarray(marks.get_ydata()) == pytest.approx([100 * value for value in gains.accuracy_gained])
        assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]
        assert axes.get_title(loc="left") == f"{gains.arm} (r = {gains.correlation:.2f})"


def test_a_trial_seed_without_a_difference_has_no_mark_and_two_give_no_correlation(
    sweep_view: SweepView, comparison: Comparison
) -> None:
    gains = comparison.gains[0]
    lacking = replace(gains, accuracy_gained=(math.nan, *gains.accuracy_gained[1:]))
    figure = accuracy_against_alignment(sweep_view, replace(comparison, gains=(lacking,)))
    assert figure is not None
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert axes.get_title(loc="left") == gains.arm


def test_bars_are_the_seconds_of_a_run_phase_after_phase(sweep_view: SweepView, comparison: Comparison) -> None:
    figure = cost_by_phase(sweep_view, comparison)
    assert figure is not None
    (axes,) = figure.axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    widths = np.array([bar.get_width() for bar in bars]).reshape(len(PHASES), -1)
    seconds = np.array([[cost.seconds_a_run[phase] for phase in PHASES] for cost in comparison.costs])
    assert pytest.approx(seconds) == widths.T
    last = bars[-len(comparison.costs) :]
    assert [bar.get_x() + bar.get_width() for bar in last] == pytest.approx([cost.a_run for cost in comparison.costs])


def test_there_is_no_figure_without_something_to_draw(sweep_view: SweepView) -> None:
    nothing = invented_comparison(replace(sweep_view, records=()))
    assert accuracy_against_alignment(sweep_view, nothing) is None
    assert cost_by_phase(sweep_view, nothing) is None
    plain = invented_sweep(arms=("ERM",))
    assert accuracy_against_alignment(plain, invented_comparison(plain)) is None
