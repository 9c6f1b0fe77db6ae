"""The comparison of the arms, drawn: differences, gains of alignment and score, search budgets, device time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from gga_sweep.metrics import METRICS
from gga_sweep.report.plots.style import (
    INK,
    MUTED,
    PAGE,
    arm_color,
    arm_line,
    arm_marker,
    draw_line,
    house_style,
    legend_columns,
    line_legend,
    mark_arm,
    new_figure,
    new_panels,
    shorten,
)
from gga_sweep.report.wording import difference_in_words, time_in_words, unit_for
from gga_sweep.selection import PHASES, AlignmentAndScore, Comparison, Contrast, SeedEstimate, SweepView
from gga_sweep.selection.expected_best import SearchBudget
from gga_sweep.selection.seed_statistics import ENOUGH_SEEDS, estimate

_NAME = 32  # characters of an arm's name in a line beside its bar
_BASELINE = 16  # of a baseline's name below the axis
_SHADES = (1.0, 0.6, 0.35, 0.15)  # of the phases, in each arm's colour


def paired_differences(view: SweepView, comparison: Comparison) -> Figure | None:
    """Each arm minus its baseline, with its interval and trial seeds. None without a pair."""
    contrasts = [contrast for contrast in comparison.selected if contrast.difference.n]
    if not contrasts:
        return None
    baselines = {contrast.baseline for contrast in contrasts}
    names = [
        contrast.arm if len(baselines) == 1 else f"{contrast.arm} against {contrast.baseline}" for contrast in contrasts
    ]
    with house_style():
        lines = [shorten(name, _NAME) for name in names]
        figure = new_figure(0.7 + sum(0.2 + 0.14 * (line.count("\n") + 1) for line in lines))
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, linewidth=1)
        for y, (contrast, name) in enumerate(zip(contrasts, names, strict=True)):
            _draw_difference(axes, contrast, y, view.arms.index(contrast.arm), name)
        axes.set_yticks(range(len(lines)), labels=lines)
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        against = baselines.pop() if len(baselines) == 1 else "the baseline"
        axes.set_xlabel(f"points of {METRICS[comparison.metric].label} above {shorten(against, _BASELINE, 1)}")
    return figure


def _draw_difference(axes: Axes, contrast: Contrast, y: int, arm: int, name: str) -> None:
    """Hollow where the difference is incomplete; without an interval where there are too few trial seeds."""
    difference, color = contrast.difference, arm_color(arm)
    title = f"{name}: {difference_in_words(difference)} points"
    seeds = [100 * value for value in difference.values if math.isfinite(value)]
    below = [y + 0.25] * len(seeds)
    (dots,) = axes.plot(seeds, below, linestyle="", marker="o", markersize=3, color=color, alpha=0.6, mew=0)
    bar = axes.errorbar(
        [100 * difference.mean],
        [y],
        xerr=[_reach(difference)],
        color=color,
        marker=arm_marker(arm),
        markersize=6,
        markerfacecolor=PAGE if contrast.incomplete else color,
        elinewidth=1.8,
        capsize=0,
    )
    for artist in (dots, *bar.get_children()):
        mark_arm(artist, arm, title)


def _reach(difference: SeedEstimate) -> float:
    """From the mean to the end of the interval, in points; 0 without one, or with too few trial seeds to draw it."""
    if difference.n < ENOUGH_SEEDS or math.isnan(difference.high):
        return 0.0
    return 100 * (difference.high - difference.mean)


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
        axes.set_ylabel(f"{METRICS[comparison.metric].label} gained (points)")
        figure.legend(handles, labels, loc="outside upper left", ncols=legend_columns(labels))
    return figure


def cost_by_phase(view: SweepView, comparison: Comparison) -> Figure | None:
    """Device time of all of an arm's runs, and of a done one, a bar an arm, its parts the phases. None without any."""
    costs = [cost for cost in comparison.costs if cost.runs]
    if not costs:
        return None
    with house_style():
        figure = new_figure(1.2 + 0.5 * len(costs), PHASES)
        of_all, of_one = figure.subplots(2, 1)
        _draw_costs(view, of_all, "all runs", {cost.arm: cost.seconds for cost in costs})
        _draw_costs(view, of_one, "a done run", {cost.arm: cost.seconds_a_run for cost in costs if cost.done})
        handles = [Patch(color=INK, alpha=shade, linewidth=0) for shade in _SHADES]
        figure.legend(handles, PHASES, loc="outside upper left", ncols=legend_columns(PHASES))
    return figure


def _draw_costs(view: SweepView, axes: Axes, title: str, seconds: Mapping[str, Mapping[str, float]]) -> None:
    """A bar an arm in its colour, in the unit that suits the longest, the phases in shades."""
    unit = unit_for(sum(of_arm.values()) for of_arm in seconds.values())
    for y, (arm, phases) in enumerate(seconds.items()):
        end, number = 0.0, view.arms.index(arm)
        for phase, shade in zip(PHASES, _SHADES, strict=True):
            length = phases[phase] / unit.seconds
            (bar,) = axes.barh([y], [length], left=[end], height=0.6, color=arm_color(number), alpha=shade, linewidth=0)
            mark_arm(bar, number, f"{arm}, {phase}: {time_in_words(length)} {unit.name}")
            end += length
    axes.set_yticks(range(len(seconds)), labels=[shorten(arm, _NAME) for arm in seconds])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_title(title)
    axes.set_xlabel(unit.name)


def _draw_gains(axes: Axes, gains: AlignmentAndScore, arm_index: int) -> Line2D:
    """A mark a trial seed, with its number; the marks."""
    trial_seeds, alignment, score = zip(*gains.points, strict=True)
    in_points = [100 * value for value in score]
    (marks,) = axes.plot(alignment, in_points, linestyle="", color=arm_color(arm_index), marker=arm_marker(arm_index))
    mark_arm(marks, arm_index, _with_correlation(gains))
    for seed, x, y in zip(trial_seeds, alignment, in_points, strict=True):
        number = axes.annotate(str(seed), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7.5, color=MUTED)
        mark_arm(number, arm_index, _with_correlation(gains))
    return marks


def _with_correlation(gains: AlignmentAndScore) -> str:
    """ "ERM + GGA (r = 0.41)"; without r where there is none."""
    return gains.arm + (f" (r = {gains.correlation:.2f})" if math.isfinite(gains.correlation) else "")


def accuracy_against_draws(view: SweepView, comparison: Comparison) -> Figure | None:
    """Expected score of the selected run against the draws of a cell; None if no arm chose among several."""
    return _budgets(view, comparison, comparison.budget, lambda budget: [*budget.draws], "draws a cell", whole=True)


def accuracy_against_time(view: SweepView, comparison: Comparison) -> Figure | None:
    """The same against the device time that they take in a cell; None if no time is known either."""
    timed = [budget for budget in comparison.budget if math.isfinite(budget.seconds_a_draw)]
    unit = unit_for(budget.seconds_a_draw * len(budget.draws) for budget in timed)

    def spent(budget: SearchBudget) -> list[float]:
        return [k * budget.seconds_a_draw / unit.seconds for k in budget.draws]

    return _budgets(view, comparison, timed, spent, f"{unit.name} a cell")


def difference_against_draws(view: SweepView, comparison: Comparison) -> Figure | None:
    """Expected paired difference to the baseline against the draws of a cell, a panel an arm; None without a pair."""
    differences = dict(_budget_differences(view, comparison.budget))
    if not differences:
        return None
    with house_style():
        figure, panels = new_panels([*differences], (), sharex=True)
        for axes, (arm, found) in zip(panels, differences.items(), strict=True):
            axes.axhline(0, color=MUTED, linewidth=1)
            low, center, high = _in_percent(found)
            draw_line(axes, range(1, len(found) + 1), center, low, high, view.arms.index(arm), arm)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.supxlabel("draws a cell", fontsize=9)
        figure.supylabel("points above the baseline", fontsize=9)
    return figure


def _budget_differences(
    view: SweepView, budgets: Iterable[SearchBudget]
) -> Iterator[tuple[str, tuple[SeedEstimate, ...]]]:
    """Arm by arm, for each number of draws that the arm and its baseline have; the unit is the trial seed."""
    by_arm = {budget.arm: budget for budget in budgets}
    for arm, budget in by_arm.items():
        if baseline := by_arm.get(view.baselines.get(arm, "")):
            pairs = zip(budget.scores, baseline.scores, strict=False)
            yield (
                arm,
                tuple(
                    estimate([ours - theirs for ours, theirs in zip(one.values, other.values, strict=True)])
                    for one, other in pairs
                ),
            )


def _in_percent(found: Iterable[SeedEstimate]) -> tuple[list[float], list[float], list[float]]:
    """Low, mean and high; no interval where there are too few trial seeds."""
    low, center, high = [], [], []
    for one in found:
        enough = one.n >= ENOUGH_SEEDS
        low.append(100 * one.low if enough else math.nan)
        center.append(100 * one.mean)
        high.append(100 * one.high if enough else math.nan)
    return low, center, high


def _budgets(
    view: SweepView,
    comparison: Comparison,
    budgets: Sequence[SearchBudget],
    spent: Callable[[SearchBudget], Sequence[float]],
    label: str,
    *,
    whole: bool = False,
) -> Figure | None:
    """Lines without bands: marginal intervals would hide the differences."""
    if not budgets:
        return None
    with house_style():
        figure = new_figure(2.9, view.arms)
        axes = figure.subplots()
        for budget in budgets:
            arm = view.arms.index(budget.arm)
            means = [100 * one.mean for one in budget.scores]
            (line,) = axes.plot(
                spent(budget), means, color=arm_color(arm), linestyle=arm_line(arm), marker=arm_marker(arm), ms=3.5
            )
            mark_arm(line, arm, budget.arm)
        axes.set_xlabel(label)
        axes.set_ylabel(f"expected {METRICS[comparison.metric].label} (%)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
        line_legend(figure, view.arms)
    return figure
