"""What the plots of the comparison draw is what it holds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from invented_sweep import invented_comparison, invented_sweep
from made_runs import changed_run
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gga_sweep.records import RunStatus
from gga_sweep.report.plots.comparison import accuracy_against_alignment, cost_by_phase
from gga_sweep.selection import PHASES, Comparison, SweepView


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_each_trial_seed_of_a_searching_arm_is_a_numbered_mark(sweep_view: SweepView, comparison: Comparison) -> None:
    figure = accuracy_against_alignment(sweep_view, comparison)
    assert figure is not None
    (axes,) = figure.axes
    _, _, *marks = axes.lines  # the first two are the zero lines
    for line, gains in zip(marks, comparison.gains, strict=True):
        assert np.asarray(line.get_xdata()) == pytest.approx(gains.alignment_gained)
        assert np.asarray(line.get_ydata()) == pytest.approx([100 * value for value in gains.accuracy_gained])
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"] * len(comparison.gains)
    assert legend(figure) == [f"{gains.arm} (r = {gains.correlation:.2f})" for gains in comparison.gains]


def test_a_trial_seed_without_a_difference_has_no_mark_and_two_give_no_correlation(
    sweep_view: SweepView, comparison: Comparison
) -> None:
    gains = comparison.gains[0]
    lacking = replace(gains, accuracy_gained=(math.nan, *gains.accuracy_gained[1:]))
    figure = accuracy_against_alignment(sweep_view, replace(comparison, gains=(lacking,)))
    assert figure is not None
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert legend(figure) == [gains.arm]


def bars(axes: Axes) -> np.ndarray:
    """Widths (arm, phase)."""
    widths = [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]
    return np.array(widths).reshape(len(PHASES), -1).T


def test_bars_are_the_seconds_of_all_runs_and_of_a_done_one_phase_after_phase(
    sweep_view: SweepView, comparison: Comparison
) -> None:
    figure = cost_by_phase(sweep_view, comparison)
    assert figure is not None
    of_all, of_one = figure.axes
    assert (of_all.get_xlabel(), of_one.get_xlabel()) == ("device-seconds", "device-seconds")
    assert bars(of_all) == pytest.approx(
        np.array([[cost.seconds[phase] for phase in PHASES] for cost in comparison.costs])
    )
    assert bars(of_one) == pytest.approx(
        np.array([[cost.seconds_a_run[phase] for phase in PHASES] for cost in comparison.costs])
    )
    last = [patch for patch in of_one.patches if isinstance(patch, Rectangle)][-len(comparison.costs) :]
    assert [bar.get_x() + bar.get_width() for bar in last] == pytest.approx([cost.a_run for cost in comparison.costs])


def test_bars_are_in_hours_where_the_longest_takes_one(sweep_view: SweepView) -> None:
    slow = replace(
        sweep_view, records=tuple(changed_run(run, seconds={"training": 900.0}) for run in sweep_view.records)
    )
    figure = cost_by_phase(sweep_view, invented_comparison(slow))
    assert figure is not None
    of_all, of_one = figure.axes
    assert (of_all.get_xlabel(), of_one.get_xlabel()) == ("device-hours", "device-seconds")
    assert bars(of_all)[:, 0] == pytest.approx([9.0, 9.0, 8.75])  # a draw of the last arm is missing


def test_an_arm_without_a_done_run_has_a_bar_of_all_runs_alone(sweep_view: SweepView) -> None:
    running = tuple(
        changed_run(run, status=RunStatus.RUNNING) if run.cell.arm == "ERM" else run for run in sweep_view.records
    )
    figure = cost_by_phase(sweep_view, invented_comparison(replace(sweep_view, records=running)))
    assert figure is not None
    assert [len(bars(axes)) for axes in figure.axes] == [3, 2]


def test_there_is_no_figure_without_something_to_draw(sweep_view: SweepView) -> None:
    nothing = invented_comparison(replace(sweep_view, records=()))
    assert accuracy_against_alignment(sweep_view, nothing) is None
    assert cost_by_phase(sweep_view, nothing) is None
    plain = invented_sweep(arms=("ERM",))
    assert accuracy_against_alignment(plain, invented_comparison(plain)) is None
