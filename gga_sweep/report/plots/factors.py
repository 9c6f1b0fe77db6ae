"""Factors drawn: the accuracy of an arm's selected runs against the value it was given, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gga_sweep.report.plots.scales import set_scale
from gga_sweep.report.plots.style import MUTED, RULE, arm_color, arm_line, arm_marker, house_style, new_figure
from gga_sweep.selection import Row, SeedEstimate, SweepView, Table
from gga_sweep.selection.seed_statistics import estimate
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


def accuracy_against_factors(view: SweepView, table: Table) -> Figure | None:
    """A panel a numeric factor of a block; None without one, or where nothing was selected in any of its arms."""
    rows = {row.arm: row for row in table.rows}
    panels = [panel for panel in factor_panels(view) if any(rows[arm].average.n for arm in _arms(panel))]
    if not panels:
        return None
    with house_style():
        figure = new_figure(sum(2.15 + 0.17 * len(panel.curves) for panel in panels))
        grid = figure.subplots(len(panels), 1, squeeze=False).ravel().tolist()
        for axes, panel in zip(grid, panels, strict=True):
            _draw_panel(axes, panel, rows)
        figure.supylabel("accuracy, mean over test domains (%)", fontsize=9)
    return figure


def _draw_panel(axes: Axes, panel: FactorPanel, rows: Mapping[str, Row]) -> None:
    if panel.baseline is not None:
        _draw_baseline(axes, estimate(rows[panel.baseline].average.values), panel.baseline)
    values = sorted({value for curve in panel.curves.values() for value in curve})
    place = set_scale(axes, values)
    for i, (others, curve) in enumerate(panel.curves.items()):
        lane = 0.12 * ((i + 0.5) / len(panel.curves) - 0.5)  # side by side, so that intervals do not hide each other
        found = [(place(value, lane), estimate(rows[curve[value]].average.values)) for value in sorted(curve)]
        _draw_curve(axes, [point for point in found if point[1].n], i, others or panel.block)
    axes.set_xlabel(panel.factor)
    handles, labels = axes.get_legend_handles_labels()
    title = panel.block if any(panel.curves) else ""
    legend = axes.legend(handles, labels, title=title, loc="lower left", bbox_to_anchor=(0, 1.0), alignment="left")
    legend.get_title().set_fontweight("bold")


def _draw_baseline(axes: Axes, baseline: SeedEstimate, name: str) -> None:
    if math.isfinite(baseline.low):
        axes.axhspan(100 * baseline.low, 100 * baseline.high, color=RULE, alpha=0.6, linewidth=0, zorder=0)
    if baseline.n:
        axes.axhline(100 * baseline.mean, color=MUTED, linewidth=1.2, linestyle="--", label=f"{name} (baseline)")


def _draw_curve(axes: Axes, points: Sequence[tuple[float, SeedEstimate]], index: int, label: str) -> None:
    """The mean with its interval; without one where a single trial seed, or none that differ, gives none."""
    reaches = [100 * (one.high - one.mean) if math.isfinite(one.high) else 0.0 for _, one in points]
    axes.errorbar(
        [x for x, _ in points],
        [100 * one.mean for _, one in points],
        yerr=reaches,
        color=arm_color(index),
        linestyle=arm_line(index),
        marker=arm_marker(index),
        elinewidth=1.2,
        capsize=0,
        label=label,
    )


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
