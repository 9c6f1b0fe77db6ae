"""What the accuracy plots draw is what the table and the records say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn import drawn
from invented_sweep import invented_sweep
from made_runs import changed_run
from matplotlib.axes import Axes

from gga_sweep.records import FINAL
from gga_sweep.report.plots.accuracy import (
    accuracy_by_domain,
    searched_hyperparameters,
    validation_against_hyperparameters,
    validation_against_test,
)
from gga_sweep.report.plots.style import PAGE
from gga_sweep.selection import SweepView, Table, build_table


def points(axes: Axes) -> int:
    """Marks of runs, those around selected ones not counted."""
    return sum(len(line.get_xdata()) for line in axes.lines if line.get_markerfacecolor() != "none")


def rings(axes: Axes) -> int:
    return sum(len(line.get_xdata()) for line in axes.lines if line.get_markerfacecolor() == "none")


def test_means_errors_and_trial_seeds_stand_where_the_table_has_them(sweep_view: SweepView, table: Table) -> None:
    figure = drawn(accuracy_by_domain(sweep_view, table))
    axes = figure.axes[0]
    entries = [entry for row in table.rows for entry in (*row.entries, row.average)]
    for container, entry in zip(axes.containers, entries, strict=True):
        line, _, (bars,) = container.lines
        assert line.get_xdata() == pytest.approx([100 * entry.mean])
        assert bars.get_segments()[0][:, 0] == pytest.approx(
            [100 * (entry.mean - entry.standard_error), 100 * (entry.mean + entry.standard_error)]
        )
        assert (line.get_markerfacecolor() == PAGE) == entry.incomplete
    dots = [line for line in axes.lines if line.get_markersize() == 3]
    assert [list(line.get_xdata()) for line in dots] == [[100 * value for value in entry.values] for entry in entries]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "45", "75", "Average"]


def test_every_run_with_a_finite_accuracy_is_a_mark_and_every_selected_one_ringed(
    sweep_view: SweepView, table: Table
) -> None:
    figure = drawn(validation_against_test(sweep_view, table))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["test 0", "test 45", "test 75"]
    assert sum(map(points, figure.axes)) == sum(run.status in FINAL for run in sweep_view.records)
    assert [rings(axes) for axes in figure.axes] == [9, 9, 9]


def test_a_mark_is_at_the_best_validation_step_of_its_run() -> None:
    sweep = invented_sweep(arms=("ERM",), test_domains=("0",), trial_seeds=(0,), draws=1, troubled=False)
    (run,) = sweep.records
    best = max(run.records, key=lambda record: record.validation.accuracy)
    figure = drawn(validation_against_test(sweep, build_table(sweep)))
    line = figure.axes[0].lines[0]
    assert list(line.get_xdata()) == [100 * best.validation.accuracy]
    assert list(line.get_ydata()) == [100 * best.test.domains["0"].train.accuracy]


def test_each_searched_hyperparameter_gets_a_panel_with_a_fitting_scale(sweep_view: SweepView, table: Table) -> None:
    figure = drawn(validation_against_hyperparameters(sweep_view, table))
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["annealing.num_candidates", "dropout", "lr", "optimizer", "weight_decay"]
    scales = {name: axes.get_xscale() for name, axes in panels.items()}
    assert scales == {
        "annealing.num_candidates": "log",
        "dropout": "linear",
        "lr": "log",
        "optimizer": "linear",
        "weight_decay": "log",
    }
    assert [label.get_text() for label in panels["optimizer"].get_xticklabels()] == ["adam", "sgd"]
    assert [*panels["annealing.num_candidates"].get_xticks()] == [4, 8, 16]
    erm = sum(run.cell.arm == "ERM" and run.status in FINAL for run in sweep_view.records)
    assert points(panels["lr"]) - points(panels["annealing.num_candidates"]) == erm
    assert rings(panels["lr"]) == len(table.selected)


def test_a_narrow_range_of_a_logarithmic_distribution_has_a_logarithmic_axis(sweep_view: SweepView) -> None:
    near = [changed_run(run, hyperparameters={"lr": 1e-3 * (1 + run.draws[0])}) for run in sweep_view.records[:3]]
    for names, scale in ((frozenset(), "linear"), (frozenset({"lr"}), "log")):
        sweep = replace(sweep_view, records=tuple(near), log_scaled=names)
        (axes,) = drawn(validation_against_hyperparameters(sweep, build_table(sweep))).axes
        assert axes.get_xscale() == scale


def test_a_zero_beside_a_range_of_powers_of_ten_does_not_flatten_it() -> None:
    sweep = invented_sweep(draws=8, troubled=False)
    records = tuple(
        changed_run(run, hyperparameters={**run.hyperparameters, "weight_decay": 0.0}) if run.draws == (0,) else run
        for run in sweep.records
    )
    sweep = replace(sweep, records=records)
    figure = drawn(validation_against_hyperparameters(sweep, build_table(sweep)))
    assert next(axes for axes in figure.axes if axes.get_title(loc="left") == "weight_decay").get_xscale() == "symlog"


def test_arms_stand_side_by_side_where_values_are_few(sweep_view: SweepView, table: Table) -> None:
    figure = drawn(validation_against_hyperparameters(sweep_view, table))
    panel = next(axes for axes in figure.axes if axes.get_title(loc="left") == "dropout")
    marks = [line for line in panel.lines if line.get_markerfacecolor() != "none"]
    places = [{round(float(x), 6) for x in np.asarray(line.get_xdata())} for line in marks]
    assert not places[0] & places[1]


def test_a_hyperparameter_that_never_changed_is_not_searched(sweep_view: SweepView) -> None:
    fixed = [changed_run(run, hyperparameters={**run.hyperparameters, "lr": 1e-3}) for run in sweep_view.records]
    assert "lr" in searched_hyperparameters(sweep_view.records)
    assert "lr" not in searched_hyperparameters(fixed)


def test_there_is_no_figure_where_there_is_nothing_to_draw(sweep_view: SweepView) -> None:
    empty = replace(sweep_view, records=())
    for draw in (accuracy_by_domain, validation_against_test, validation_against_hyperparameters):
        assert draw(empty, build_table(empty)) is None
