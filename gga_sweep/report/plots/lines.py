"""Lines with bands, an arm a colour, dash and marker, and the legend that tells them apart."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gga_sweep.report.plots.style import arm_color, arm_line, arm_marker, legend_columns

_MARKED = 24  # a line of up to so many points shows them


def draw_line(
    axes: Axes,
    x: Sequence[float],
    center: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    index: int,
    *,
    band: float = 0.15,
) -> None:
    """A line in the marks of arm `index`, and its band, which is missing where `low` and `high` are NaN.

    Args:
        band: its opacity, less where many of them overlap.
    """
    axes.fill_between(x, low, high, color=arm_color(index), alpha=band, linewidth=0)
    shown = arm_marker(index) if len(x) <= _MARKED else ""
    axes.plot(x, center, color=arm_color(index), linestyle=arm_line(index), marker=shown, markersize=3.5)


def line_legend(figure: Figure, labels: Sequence[str]) -> None:
    """Above the figure: label i for the marks of arm i."""
    handles = [
        Line2D([], [], color=arm_color(i), linestyle=arm_line(i), marker=arm_marker(i), markersize=4)
        for i in range(len(labels))
    ]
    figure.legend(handles, labels, loc="outside upper left", ncols=legend_columns(labels))
