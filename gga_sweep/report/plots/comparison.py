"""The comparison of the arms, drawn: gains of alignment and accuracy, search budgets, and device time."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from gga_sweep.report.plots.style import (
    MUTED,
    arm_color,
    arm_marker,
    draw_line,
    house_style,
    legend_columns,
    line_legend,
    new_figure,
)
from gga_sweep.report.wording import unit_for
from gga_sweep.selection import PHASES, AlignmentAndAccuracy, Comparison, SweepView
from gga_sweep.selection.expected_best import SearchBudget

_FEW = 3  # arms whose bands can overlap and remain distinguishable
_NAME = 40  # characters of an arm's name in a line beside its bar


def accuracy_against_alignment(view: SweepView, comparison: Comparison) -> Figure | None:
    """Each trial seed of the selected runs of every arm that searches. None if there is nothing to compare."""
    compared = [gains for gains in comparison.gains if gains.points]
    if not compared:
        return None
    labels = [_with_correlation(gains) for gains in compared]
    with house_style():
        figure = new_figure(3.2, labels)
        axes = figure.subplots()
        axes.axhline(0, color=MUTED, linewidth=0.7)
        axes.axvline(0, color=MUTED, linewidth=0.7)
        handles = [_draw_gains(axes, gains, view.arms.index(gains.arm)) for gains in compared]
        axes.margins(0.08)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("alignment gained under fresh masks (cosine)")
        axes.set_ylabel("accuracy gained (points)")
        figure.legend(handles, labels, loc="outside upper left", ncols=legend_columns(labels))
    return figure


def cost_by_phase(view: SweepView, comparison: Comparison) -> Figure | None:
    """Device time of all of an arm's runs, and of a done one, a bar an arm, its parts the phases. None without any."""
    costs = [cost for cost in comparison.costs if cost.runs]
    if not costs:
        return None
    with house_style():
        figure = new_figure(1.2 + 0.6 * len(costs), PHASES)
        of_all, of_one = figure.subplots(2, 1)
        _draw_costs(of_all, "all runs", {cost.arm: cost.seconds for cost in costs})
        _draw_costs(of_one, "a done run", {cost.arm: cost.seconds_a_run for cost in costs if cost.done})
        handles = [Patch(color=arm_color(i)) for i in range(len(PHASES))]
        figure.legend(handles, PHASES, loc="outside upper left", ncols=legend_columns(PHASES))
    return figure


def _draw_costs(axes: Axes, title: str, seconds: Mapping[str, Mapping[str, float]]) -> None:
    """A bar an arm, in the unit that suits the longest."""
    unit = unit_for(sum(of_arm.values()) for of_arm in seconds.values())
    names = [textwrap.fill(arm, _NAME) for arm in seconds]
    ends = [0.0] * len(seconds)
    for i, phase in enumerate(PHASES):
        lengths = [of_arm[phase] / unit.seconds for of_arm in seconds.values()]
        axes.barh(names, lengths, left=ends, height=0.6, color=arm_color(i))
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_title(title)
    axes.set_xlabel(unit.name)


def _draw_gains(axes: Axes, gains: AlignmentAndAccuracy, arm_index: int) -> Line2D:
    """A mark a trial seed, with its number; the marks."""
    trial_seeds, alignment, accuracy = zip(*gains.points, strict=True)
    in_points = [100 * value for value in accuracy]
    (marks,) = axes.plot(alignment, in_points, linestyle="", color=arm_color(arm_index), marker=arm_marker(arm_index))
    for seed, x, y in zip(trial_seeds, alignment, in_points, strict=True):
        axes.annotate(str(seed), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7.5, color=MUTED)
    return marks


def _with_correlation(gains: AlignmentAndAccuracy) -> str:
    """ "ERM + GGA (r = 0.41)"; without r where there is none."""
    return gains.arm + (f" (r = {gains.correlation:.2f})" if math.isfinite(gains.correlation) else "")


def accuracy_against_draws(view: SweepView, comparison: Comparison) -> Figure | None:
    """Expected accuracy of the selected run against the draws of a cell; None if no arm chose among several."""
    return _budgets(view, comparison.budget, lambda budget: [*budget.draws], "draws a cell", whole=True)


def accuracy_against_time(view: SweepView, comparison: Comparison) -> Figure | None:
    """The same against the device time that they take in a cell; None if no time is known either."""
    timed = [budget for budget in comparison.budget if math.isfinite(budget.seconds_a_draw)]
    unit = unit_for(budget.seconds_a_draw * len(budget.draws) for budget in timed)

    def spent(budget: SearchBudget) -> list[float]:
        return [k * budget.seconds_a_draw / unit.seconds for k in budget.draws]

    return _budgets(view, timed, spent, f"{unit.name} a cell")


def _budgets(
    view: SweepView,
    budgets: Sequence[SearchBudget],
    spent: Callable[[SearchBudget], Sequence[float]],
    label: str,
    *,
    whole: bool = False,
) -> Figure | None:
    if not budgets:
        return None
    with house_style():
        figure = new_figure(2.9, view.arms)
        axes = figure.subplots()
        for budget in budgets:
            _draw_budget(
                axes, budget, spent(budget), view.arms.index(budget.arm), band=0.15 if len(budgets) <= _FEW else 0.06
            )
        axes.set_xlabel(label)
        axes.set_ylabel("expected accuracy (%)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
        line_legend(figure, view.arms)
    return figure


def _draw_budget(axes: Axes, budget: SearchBudget, spent: Sequence[float], arm: int, *, band: float) -> None:
    low, center, high = ([100 * getattr(one, name) for one in budget.accuracy] for name in ("low", "mean", "high"))
    draw_line(axes, spent, center, low, high, arm, band=band)
