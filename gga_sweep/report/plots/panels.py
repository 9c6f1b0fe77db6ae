"""Small panels, two a row, in the house's width."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gga_sweep.report.plots.style import new_figure

_TITLE = 30  # letters that stand in a line above a panel of half the width


def new_panels(
    titles: Sequence[str], labels: Sequence[str], *, sharex: bool = False, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """An empty panel a title; a surplus one is removed.

    Args:
        titles: of the panels, in order; long ones are wrapped.
        labels: of the figure's legend, for which room is left.
        sharex, sharey: whether all panels have the same axis.
    """
    columns = min(2, len(titles))
    rows = math.ceil(len(titles) / columns)
    wrapped = [textwrap.fill(title, _TITLE * (3 - columns)) for title in titles]
    lines = max(title.count("\n") + 1 for title in wrapped)
    figure = new_figure(0.5 + rows * ((1.9 if columns == 2 else 2.5) + 0.15 * (lines - 1)), labels)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel().tolist()
    for axes, title in zip(grid, wrapped, strict=False):
        axes.set_title(title)
    for surplus in grid[len(titles) :]:
        surplus.remove()
    for axes in grid[len(titles) - columns : len(titles)]:
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, grid[: len(titles)]
