"""The comparison of the arms, drawn: accuracy gained against alignment gained, and where the time went."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gga_sweep.report.style import MUTED, arm_color, arm_marker, house_style, legend_columns, new_figure
from gga_sweep.selection import PHASES, AlignmentAndAccuracy, Comparison, SweepView


def accuracy_against_alignment(view: SweepView, comparison: Comparison) -> Figure | None:
    """Each trial seed of the selected runs, a panel an arm that searches. None if there is nothing to compare."""
    compared = [gains for gains in comparison.gains if gains.points]
    if not compared:
        return None
    with house_style():
        figure = new_figure(0.5 + 1.75 * len(compared))
        panels = figure.subplots(len(compared), 1, squeeze=False).ravel().tolist()
        for axes, gains in zip(panels, compared, strict=True):
            _draw_gains(axes, gains, view.arms.index(gains.arm))
        panels[-1].set_xlabel("alignment gained under fresh masks (cosine)")
        figure.supylabel("accuracy gained (points)", fontsize=9)
    return figure


def cost_by_phase(view: SweepView, comparison: Comparison) -> Figure | None:
    """Mean device-seconds of an arm's done runs, a bar an arm, its parts the phases. None if no run is done."""
    costs = [cost for cost in comparison.costs if cost.done]
    if not costs:
        return None
    arms = [cost.arm for cost in costs]
    with house_style():
        figure = new_figure(0.6 + 0.4 * len(costs), PHASES)
        axes = figure.subplots()
        ends = [0.0] * len(costs)
        for i, phase in enumerate(PHASES):
            seconds = [cost.seconds_a_run[phase] for cost in costs]
            axes.barh(arms, seconds, left=ends, height=0.6, color=arm_color(i))
            ends = [end + length for end, length in zip(ends, seconds, strict=True)]
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("device-seconds")
        handles = [Patch(color=arm_color(i)) for i in range(len(PHASES))]
        figure.legend(handles, PHASES, loc="outside upper left", ncols=legend_columns(PHASES))
    return figure


def _draw_gains(axes: Axes, gains: AlignmentAndAccuracy, arm_index: int) -> None:
    trial_seeds, alignment, accuracy = zip(*gains.points, strict=True)
    together = f" (r = {gains.correlation:.2f})" if math.isfinite(gains.correlation) else ""
    axes.set_title(gains.arm + together)
    axes.axhline(0, color=MUTED, linewidth=0.7)
    axes.axvline(0, color=MUTED, linewidth=0.7)
    in_points = [100 * value for value in accuracy]
    axes.plot(alignment, in_points, linestyle="", color=arm_color(arm_index), marker=arm_marker(arm_index))
    for seed, x, y in zip(trial_seeds, alignment, in_points, strict=True):
        axes.annotate(str(seed), (x, y), xytext=(5, 3), textcoords="offset points", fontsize=8, color=MUTED)
    axes.margins(0.12)
