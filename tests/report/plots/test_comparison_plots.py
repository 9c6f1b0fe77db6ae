"""What the plots of the comparison draw is what it holds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn import drawn
from invented_sweep import ARMS, invented_comparison, invented_sweep
from made_runs import changed_run
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy import stats

from gga_sweep.records import RunStatus
from gga_sweep.report.plots.comparison import (
    accuracy_against_alignment,
    accuracy_against_draws,
    accuracy_against_time,
    cost_by_phase,
    difference_against_draws,
    paired_differences,
)
from gga_sweep.report.plots.style import PAGE, arm_color
from gga_sweep.selection import PHASES, Comparison, SweepView


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_each_trial_seed_of_a_searching_arm_is_a_numbered_mark(sweep_view: SweepView, comparison: Comparison) -> None:
    figure = drawn(accuracy_against_alignment(sweep_view, comparison))
    (axes,) = figure.axes
    _, _, *marks = axes.lines  # the first two are the zero lines
    for line, gains in zip(marks, comparison.gains, strict=True):
        assert np.asarray(line.get_xdata()) == pytest.approx(gains.alignment_gained)
        assert np.asarray(line.get_ydata()) == pytest.approx([100 * value for value in gains.score_gained])
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"] * len(comparison.gains)
    assert legend(figure) == [f"{gains.arm} (r = {gains.correlation:.2f})" for gains in comparison.gains]


def test_a_trial_seed_without_a_difference_has_no_mark_and_two_give_no_correlation(
    sweep_view: SweepView, comparison: Comparison
) -> None:
    gains = comparison.gains[0]
    lacking = replace(gains, score_gained=(math.nan, *gains.score_gained[1:]))
    figure = drawn(accuracy_against_alignment(sweep_view, replace(comparison, gains=(lacking,))))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert legend(figure) == [gains.arm]


def bars(axes: Axes) -> np.ndarray:
    """Widths (arm, phase)."""
    widths = [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]
    return np.array(widths).reshape(-1, len(PHASES))


def test_bars_are_the_seconds_of_all_runs_and_of_a_done_one_phase_after_phase(
    sweep_view: SweepView, comparison: Comparison
) -> None:
    figure = drawn(cost_by_phase(sweep_view, comparison))
    of_all, of_one = figure.axes
    assert (of_all.get_xlabel(), of_one.get_xlabel()) == ("device-minutes", "device-seconds")
    assert bars(of_all) == pytest.approx(
        np.array([[cost.seconds[phase] / 60 for phase in PHASES] for cost in comparison.costs])
    )
    assert bars(of_one) == pytest.approx(
        np.array([[cost.seconds_a_run[phase] for phase in PHASES] for cost in comparison.costs])
    )
    drawn_bars = [patch for patch in of_one.patches if isinstance(patch, Rectangle)]
    last = drawn_bars[len(PHASES) - 1 :: len(PHASES)]
    assert [bar.get_facecolor()[:3] for bar in last] == [to_rgb(arm_color(i)) for i in range(3)]
    assert [bar.get_x() + bar.get_width() for bar in last] == pytest.approx([cost.a_run for cost in comparison.costs])


def test_bars_are_in_hours_where_the_longest_takes_two(sweep_view: SweepView) -> None:
    slow = replace(
        sweep_view, records=tuple(changed_run(run, seconds={"training": 900.0}) for run in sweep_view.records)
    )
    figure = drawn(cost_by_phase(sweep_view, invented_comparison(slow)))
    of_all, of_one = figure.axes
    assert (of_all.get_xlabel(), of_one.get_xlabel()) == ("device-hours", "device-minutes")
    assert bars(of_all)[:, 0] == pytest.approx([9.0, 9.0, 8.75])  # a draw of the last arm is missing


def test_an_arm_without_a_done_run_has_a_bar_of_all_runs_alone(sweep_view: SweepView) -> None:
    running = tuple(
        changed_run(run, status=RunStatus.RUNNING) if run.cell.arm == "ERM" else run for run in sweep_view.records
    )
    figure = drawn(cost_by_phase(sweep_view, invented_comparison(replace(sweep_view, records=running))))
    assert [len(bars(axes)) for axes in figure.axes] == [3, 2]


def test_there_is_no_figure_without_something_to_draw(sweep_view: SweepView) -> None:
    nothing = invented_comparison(replace(sweep_view, records=()))
    assert accuracy_against_alignment(sweep_view, nothing) is None
    assert paired_differences(sweep_view, nothing) is None
    assert cost_by_phase(sweep_view, nothing) is None
    plain = invented_sweep(arms=("ERM",))
    assert accuracy_against_alignment(plain, invented_comparison(plain)) is None


def test_each_arm_has_a_line_over_its_draws(sweep_view: SweepView, comparison: Comparison) -> None:
    figure = drawn(accuracy_against_draws(sweep_view, comparison))
    for line, budget in zip(figure.axes[0].lines, comparison.budget, strict=True):
        assert list(line.get_xdata()) == [*budget.draws]
        assert list(line.get_ydata()) == [100 * one.mean for one in budget.scores]


def test_differences_over_draws_are_paired_by_trial_seed_with_the_interval_as_band() -> None:
    sweep = invented_sweep(troubled=False)
    comparison = invented_comparison(sweep)
    figure = drawn(difference_against_draws(sweep, comparison))
    baseline, *others = comparison.budget
    for axes, budget in zip(figure.axes, others, strict=True):
        for k, (ours, theirs) in enumerate(zip(budget.scores, baseline.scores, strict=True)):
            pairs = 100 * (np.array(ours.values) - np.array(theirs.values))
            reach = stats.t.ppf(0.975, 2) * pairs.std(ddof=1) / np.sqrt(3)
            assert axes.lines[1].get_ydata()[k] == pytest.approx(pairs.mean())
            corners = axes.collections[0].get_paths()[0].vertices
            ends = corners[corners[:, 0] == k + 1, 1]
            assert (ends.min(), ends.max()) == pytest.approx((pairs.mean() - reach, pairs.mean() + reach))


def test_a_difference_is_a_mark_with_its_interval_and_trial_seeds(
    sweep_view: SweepView, comparison: Comparison
) -> None:
    figure = drawn(paired_differences(sweep_view, comparison))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [one.arm for one in comparison.selected]
    for i, (container, contrast) in enumerate(zip(axes.containers, comparison.selected, strict=True), start=1):
        line, _, (ends,) = container.lines
        difference = contrast.difference
        assert list(line.get_xdata()) == [100 * difference.mean]
        assert ends.get_segments()[0][:, 0] == pytest.approx([100 * difference.low, 100 * difference.high])
        assert line.get_color() == arm_color(i)
        assert (line.get_markerfacecolor() == PAGE) == contrast.incomplete
        dots = [dots for dots in axes.lines if dots.get_markersize() == 3][i - 1]
        assert list(dots.get_xdata()) == [100 * value for value in difference.values]


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_trial_seeds_give_a_difference_without_interval(seeds: int) -> None:
    sweep = invented_sweep(trial_seeds=range(seeds), troubled=False)
    (axes,) = drawn(paired_differences(sweep, invented_comparison(sweep))).axes
    for container in axes.containers:
        _, _, (ends,) = container.lines
        left, right = ends.get_segments()[0][:, 0]
        assert left == right
    low, high = axes.get_xlim()
    assert high - low < 20


def test_long_names_leave_room_for_the_plot() -> None:
    arms = ("ERM", *(f"{'a very long name ' * 6}{i}" for i in range(3)))
    sweep = replace(invented_sweep(arms=arms, troubled=False), baselines=dict.fromkeys(arms[1:], "ERM"))
    (axes,) = drawn(paired_differences(sweep, invented_comparison(sweep))).axes
    lines = [line for label in axes.get_yticklabels() for line in label.get_text().split("\n")]
    assert max(map(len, lines)) <= 32
    assert len(lines) == 6


def test_time_is_that_of_the_draws_in_minutes_or_hours(sweep_view: SweepView, comparison: Comparison) -> None:
    figure = drawn(accuracy_against_time(sweep_view, comparison))
    assert figure.axes[0].get_xlabel() == "device-minutes a cell"
    for line, budget in zip(figure.axes[0].lines, comparison.budget, strict=True):
        assert list(line.get_xdata()) == [k * budget.seconds_a_draw / 60 for k in budget.draws]
    slow = tuple(replace(one, seconds_a_draw=1800.0) for one in comparison.budget)
    figure = drawn(accuracy_against_time(sweep_view, replace(comparison, budget=slow)))
    assert figure.axes[0].get_xlabel() == "device-hours a cell"
    assert list(figure.axes[0].lines[1].get_xdata()) == [0.5 * k for k in slow[1].draws]


def test_an_arm_keeps_its_marks_where_another_has_no_budget() -> None:
    sweep = invented_sweep(troubled=False)
    left = replace(sweep, searched=frozenset(ARMS[:1]))
    figure = drawn(accuracy_against_draws(left, invented_comparison(left)))
    whole = drawn(accuracy_against_draws(sweep, invented_comparison(sweep)))
    assert [line.get_color() for line in figure.axes[0].lines] == [line.get_color() for line in whole.axes[0].lines[1:]]


def test_there_is_no_figure_without_a_budget_or_without_a_time(sweep_view: SweepView, comparison: Comparison) -> None:
    nothing = replace(comparison, budget=())
    for draw in (accuracy_against_draws, accuracy_against_time, difference_against_draws):
        assert draw(sweep_view, nothing) is None
    untimed = replace(comparison, budget=tuple(replace(b, seconds_a_draw=float("nan")) for b in comparison.budget))
    assert accuracy_against_time(sweep_view, untimed) is None
