"""The search budget, drawn: how good the selected run would have been with fewer draws, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gga_sweep.report.plots.lines import draw_line, line_legend
from gga_sweep.report.plots.style import house_style, new_figure
from gga_sweep.report.units import unit_for
from gga_sweep.selection import Comparison, SweepView
from gga_sweep.selection.expected_best import SearchBudget

_FEW = 3  # arms whose bands can overlap and still be told apart


def accuracy_against_draws(view: SweepView, comparison: Comparison) -> Figure | None:
    """Expected accuracy of the selected run against the draws of a cell; None if no arm chose among several."""
    return _figure(view, comparison.budget, lambda budget: [*budget.draws], "draws a cell", whole=True)


def accuracy_against_time(view: SweepView, comparison: Comparison) -> Figure | None:
    """The same against the device time that they take in a cell; None if no time is known either."""
    timed = [budget for budget in comparison.budget if math.isfinite(budget.seconds_a_draw)]
    unit = unit_for(budget.seconds_a_draw * len(budget.draws) for budget in timed)

    def spent(budget: SearchBudget) -> list[float]:
        return [k * budget.seconds_a_draw / unit.seconds for k in budget.draws]

    return _figure(view, timed, spent, f"{unit.name} a cell")


def _figure(
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
            _draw(axes, budget, spent(budget), view.arms.index(budget.arm), band=0.15 if len(budgets) <= _FEW else 0.06)
        axes.set_xlabel(label)
        axes.set_ylabel("expected accuracy (%)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
        line_legend(figure, view.arms)
    return figure


def _draw(axes: Axes, budget: SearchBudget, spent: Sequence[float], arm: int, *, band: float) -> None:
    low, center, high = ([100 * getattr(one, name) for one in budget.accuracy] for name in ("low", "mean", "high"))
    draw_line(axes, spent, center, low, high, arm, band=band)
