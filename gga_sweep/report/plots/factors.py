"""Factors drawn: the paired difference of an arm to its baseline against the value it was given, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gga_sweep.metrics import METRICS
from gga_sweep.report.plots.scales import set_scale
from gga_sweep.report.plots.style import (
    MUTED,
    arm_color,
    arm_line,
    arm_marker,
    house_style,
    mark_arm,
    new_panels,
)
from gga_sweep.selection import Comparison, SeedEstimate, SweepView, Table
from gga_sweep.selection.seed_statistics import ENOUGH_SEEDS, score_estimate
from gga_sweep.spec.arms import listed


@dataclass(frozen=True, slots=True)
class FactorPanel:
    """One numeric factor of one block of arms.

    Args:
        block: the arms' name without their factors.
        factor: dotted name.
        baseline: the baseline of all its arms; None without one.
        curves: the other factors, as the arms' names put them -> value of this factor -> arm.
    """

    block: str
    factor: str
    baseline: str | None
    curves: Mapping[str, Mapping[float, str]]


def factor_panels(view: SweepView) -> list[FactorPanel]:
    """Every numeric factor with several values at constant values of the other factors of its block."""
    blocks: dict[tuple[str, str | None, tuple[str, ...]], list[str]] = {}
    for arm in view.arms:
        if factors := view.factors.get(arm):
            blocks.setdefault((view.blocks[arm], view.baselines.get(arm), tuple(factors)), []).append(arm)
    return [
        FactorPanel(block, factor, baseline, curves)
        for (block, baseline, factors), arms in blocks.items()
        for factor in factors
        if (curves := _curves(view, arms, factor))
    ]


def difference_against_factors(view: SweepView, table: Table, comparison: Comparison) -> Figure | None:
    """A panel a numeric factor of a block; None without one, or where nothing was selected in any of its arms."""
    differences = {contrast.arm: contrast.difference for contrast in comparison.selected}
    scores = {row.arm: score_estimate(row.average.values) for row in table.rows}
    found = {**scores, **differences}
    panels = [panel for panel in factor_panels(view) if any(found[arm].n for arm in _arms(panel))]
    if not panels:
        return None
    with house_style():
        titles = [panel.block for panel in panels]
        figure, grid = new_panels(titles, [""] * max(len(panel.curves) for panel in panels), sharey=False)
        for axes, panel in zip(grid, panels, strict=True):
            _draw_panel(axes, panel, view, found)
    return figure


def _draw_panel(axes: Axes, panel: FactorPanel, view: SweepView, found: Mapping[str, SeedEstimate]) -> None:
    """A line a curve, and the mark of each arm in its colour, with its interval."""
    if panel.baseline is not None:
        axes.axhline(0, color=MUTED, linewidth=1)
    place = set_scale(axes, sorted({value for curve in panel.curves.values() for value in curve}))
    for i, (others, curve) in enumerate(panel.curves.items()):
        lane = 0.12 * ((i + 0.5) / len(panel.curves) - 0.5)  # side by side, so that intervals do not hide each other
        points = [(place(value, lane), curve[value]) for value in sorted(curve) if found[curve[value]].n]
        means = [100 * found[arm].mean for _, arm in points]
        axes.plot([x for x, _ in points], means, color=MUTED, linestyle=arm_line(i), linewidth=1.1, label=others)
        for x, arm in points:
            _draw_arm(axes, x, found[arm], view.arms.index(arm), arm)
    axes.set_xlabel(panel.factor)
    axes.set_ylabel(f"{METRICS[view.metric].label} (%)" if panel.baseline is None else "points above\nthe baseline")
    if any(panel.curves):
        axes.legend(loc="best", fontsize=7.5)


def _draw_arm(axes: Axes, x: float, one: SeedEstimate, arm: int, name: str) -> None:
    """The mean with its interval; without one where there are too few trial seeds, or none that differ."""
    reach = [[100 * (one.mean - one.low)], [100 * (one.high - one.mean)]]
    bar = axes.errorbar(
        [x],
        [100 * one.mean],
        yerr=reach if one.n >= ENOUGH_SEEDS and math.isfinite(one.low) else None,
        color=arm_color(arm),
        marker=arm_marker(arm),
        elinewidth=1.4,
        capsize=0,
    )
    for artist in bar.get_children():
        mark_arm(artist, arm, name)


def _curves(view: SweepView, arms: Sequence[str], factor: str) -> dict[str, dict[float, str]]:
    """`FactorPanel.curves`, those with several values alone; none for a factor that is not a number."""
    curves: dict[str, dict[float, str]] = {}
    for arm in arms:
        value = view.factors[arm][factor]
        if isinstance(value, int | float) and not isinstance(value, bool):
            others = {name: other for name, other in view.factors[arm].items() if name != factor}
            curves.setdefault(listed(others).removeprefix(", "), {})[float(value)] = arm
    return {others: curve for others, curve in curves.items() if len(curve) > 1}


def _arms(panel: FactorPanel) -> Iterator[str]:
    return (arm for curve in panel.curves.values() for arm in curve.values())
