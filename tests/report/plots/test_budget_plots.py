"""What the plots of the search budget draw is what the comparison holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from invented_sweep import ARMS, invented_comparison, invented_sweep
from matplotlib.figure import Figure

from gga_sweep.report.plots.budget import accuracy_against_draws, accuracy_against_time
from gga_sweep.selection import Comparison, SweepView


def band(figure: Figure, index: int) -> np.ndarray:
    """(low, high) at each mark, low first."""
    vertices = figure.axes[0].collections[index].get_paths()[0].vertices
    x = np.unique(vertices[:, 0])
    return np.array([[vertices[vertices[:, 0] == at, 1].min(), vertices[vertices[:, 0] == at, 1].max()] for at in x])


def test_each_arm_has_a_line_over_its_draws_with_the_interval_as_band(
    sweep_view: SweepView, comparison: Comparison
) -> None:
    figure = accuracy_against_draws(sweep_view, comparison)
    assert figure is not None
    for i, (line, budget) in enumerate(zip(figure.axes[0].lines, comparison.budget, strict=True)):
        assert list(line.get_xdata()) == [*budget.draws]
        assert list(line.get_ydata()) == [100 * one.mean for one in budget.accuracy]
        assert band(figure, i) == pytest.approx(np.array([[100 * one.low, 100 * one.high] for one in budget.accuracy]))


def test_time_is_that_of_the_draws_in_seconds_or_hours(sweep_view: SweepView, comparison: Comparison) -> None:
    figure = accuracy_against_time(sweep_view, comparison)
    assert figure is not None
    assert figure.axes[0].get_xlabel() == "device-seconds a cell"
    for line, budget in zip(figure.axes[0].lines, comparison.budget, strict=True):
        assert list(line.get_xdata()) == [k * budget.seconds_a_draw for k in budget.draws]
    slow = tuple(replace(one, seconds_a_draw=1800.0) for one in comparison.budget)
    figure = accuracy_against_time(sweep_view, replace(comparison, budget=slow))
    assert figure is not None
    assert figure.axes[0].get_xlabel() == "device-hours a cell"
    assert list(figure.axes[0].lines[1].get_xdata()) == [0.5 * k for k in slow[1].draws]


def test_an_arm_keeps_its_marks_where_another_has_no_budget() -> None:
    sweep = invented_sweep(troubled=False)
    left = replace(sweep, searched=frozenset(ARMS[:1]))
    figure = accuracy_against_draws(left, invented_comparison(left))
    whole = accuracy_against_draws(sweep, invented_comparison(sweep))
    assert figure is not None
    assert whole is not None
    assert [line.get_color() for line in figure.axes[0].lines] == [line.get_color() for line in whole.axes[0].lines[1:]]


def test_bands_of_many_arms_are_fainter() -> None:
    opacities = []
    for arms in (ARMS, ("ERM", "a", "b", "c")):
        sweep = invented_sweep(arms=arms, troubled=False)
        figure = accuracy_against_draws(sweep, invented_comparison(sweep))
        assert figure is not None
        opacities.append(figure.axes[0].collections[0].get_alpha())
    assert opacities[1] < opacities[0]


def test_there_is_no_figure_without_a_budget_or_without_a_time(sweep_view: SweepView, comparison: Comparison) -> None:
    nothing = replace(comparison, budget=())
    assert accuracy_against_draws(sweep_view, nothing) is None
    assert accuracy_against_time(sweep_view, nothing) is None
    untimed = replace(comparison, budget=tuple(replace(b, seconds_a_draw=float("nan")) for b in comparison.budget))
    assert accuracy_against_time(sweep_view, untimed) is None
