"""What the plots over training steps draw is what the records say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from drawn import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from invented_sweep import STEPS, WINDOW, invented_sweep
from made_runs import changed_run
from matplotlib.patches import Rectangle

from gga_sweep.records import Record, RunRecords, RunStatus
from gga_sweep.report.plots.steps import (
    accuracy_over_steps,
    alignment_gained,
    alignment_over_steps,
    annealing_window,
    curve_over_seeds,
    loss_over_steps,
)
from gga_sweep.selection import SweepView, Table, build_table


def test_each_arm_has_a_line_of_its_mean_smallest_cosine() -> None:
    sweep = invented_sweep(troubled=False)
    figure = drawn(alignment_over_steps(sweep, build_table(sweep)))
    lines = figure.axes[0].lines
    assert len(lines) == len(sweep.arms)
    for arm, line in zip(sweep.arms, lines, strict=True):
        runs = [run for run in sweep.records if run.cell.arm == arm]
        cosines = np.array([[record.validation.agreement.minimum for record in run.records] for run in runs])
        assert list(line.get_xdata()) == list(STEPS)
        assert np.asarray(line.get_ydata()) == pytest.approx(cosines.mean(axis=0))


def test_each_arm_has_the_mean_accuracy_of_its_selected_runs_with_the_range_of_the_trial_seeds() -> None:
    sweep = invented_sweep(troubled=False)
    table = build_table(sweep)
    figure = drawn(accuracy_over_steps(sweep, table))
    on_validation, on_test = figure.axes
    runs = {(run.cell, run.key): run for run in sweep.records}
    for i, arm in enumerate(sweep.arms):
        selected = [runs[one.cell, one.key] for one in table.selected if one.cell.arm == arm]
        validation = [[100 * record.validation.accuracy for record in run.records] for run in selected]
        test = [
            [100 * record.test.domains[run.cell.test_domains[0]].train.accuracy for record in run.records]
            for run in selected
        ]
        seeds = [run.cell.trial_seed for run in selected]
        for axes, values in ((on_validation, validation), (on_test, test)):
            by_seed = np.array(
                [np.mean([v for v, s in zip(values, seeds, strict=True) if s == n], 0) for n in (0, 1, 2)]
            )
            line = axes.lines[i]
            assert list(line.get_xdata()) == list(STEPS)
            assert np.asarray(line.get_ydata()) == pytest.approx(by_seed.mean(axis=0))
            corners = axes.collections[i].get_paths()[0].vertices
            ends = corners[corners[:, 0] == STEPS[-1], 1]
            assert (ends.min(), ends.max()) == pytest.approx((by_seed[:, -1].min(), by_seed[:, -1].max()))
    low, high = on_test.get_ylim()
    late = np.concatenate([np.asarray(line.get_ydata())[len(STEPS) // 2 :] for line in on_test.lines])
    assert low < late.min() < late.max() < high
    assert low > 50  # the first steps, at chance, lie below the axis


def test_an_arm_has_its_colour_where_others_are_missing() -> None:
    sweep = invented_sweep(troubled=False)
    left = replace(sweep, records=tuple(run for run in sweep.records if run.cell.arm != sweep.arms[1]))
    whole, fewer = (drawn(alignment_gained(one, build_table(one))) for one in (sweep, left))
    assert [line.get_color() for line in fewer.axes[0].lines] == [line.get_color() for line in whole.axes[1].lines]
    assert len({line.get_color() for line in whole.axes[0].lines[1:]}) == 1


def test_the_annealed_steps_are_shaded_once(sweep_view: SweepView, table: Table) -> None:
    figure = drawn(alignment_over_steps(sweep_view, table))
    (window,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert (window.get_x(), window.get_x() + window.get_width()) == (WINDOW.start - 0.5, WINDOW.stop - 0.5)


def test_the_window_spans_all_annealed_steps_of_an_arm(sweep_view: SweepView) -> None:
    assert annealing_window(sweep_view.records) == (WINDOW.start, WINDOW.stop - 1)
    assert annealing_window([run for run in sweep_view.records if run.cell.arm == "ERM"]) is None


def test_each_annealed_arm_has_a_panel_with_the_three_gains() -> None:
    sweep = invented_sweep(troubled=False)
    figure = drawn(alignment_gained(sweep, build_table(sweep)))
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(sweep.arms[1:])
    runs = [run for run in sweep.records if run.cell.arm == sweep.arms[1]]
    for line, name in zip(figure.axes[0].lines[1:], ("", "fresh_", "next_"), strict=True):  # the first is the zero line
        gains = [
            [getattr(s, f"{name}alignment_after") - getattr(s, f"{name}alignment_before") for s in run.annealed]
            for run in runs
        ]
        assert list(line.get_xdata()) == list(WINDOW)
        assert np.asarray(line.get_ydata()) == pytest.approx(np.mean(gains, axis=0))


def test_runs_that_are_not_final_are_not_drawn(sweep_view: SweepView, table: Table) -> None:
    running = replace(
        sweep_view, records=tuple(changed_run(run, status=RunStatus.RUNNING) for run in sweep_view.records)
    )
    for draw in (alignment_over_steps, alignment_gained, loss_over_steps):
        assert draw(running, table) is None


def test_there_is_no_figure_for_a_single_training_domain(sweep_view: SweepView, table: Table) -> None:
    def alone(record: Record) -> Record:
        agreement = replace(record.validation.agreement, minimum=math.nan)
        return replace(record, validation=replace(record.validation, agreement=agreement))

    records = tuple(changed_run(run, records=tuple(map(alone, run.records))) for run in sweep_view.records)
    assert alignment_over_steps(replace(sweep_view, records=records), table) is None


def test_each_arm_has_a_line_of_its_mean_validation_and_minibatch_loss() -> None:
    sweep = invented_sweep(troubled=False)
    losses = {
        run.key: tuple(replace(one, validation=replace(one.validation, batch_loss=0.1 + i)) for one in run.records)
        for i, run in enumerate(sweep.records)
    }
    sweep = replace(sweep, records=tuple(changed_run(run, records=losses[run.key]) for run in sweep.records))
    figure = drawn(loss_over_steps(sweep, build_table(sweep)))
    on_validation, on_minibatches = figure.axes
    for arm, *lines in zip(sweep.arms, on_validation.lines, on_minibatches.lines, strict=True):
        runs = [run for run in sweep.records if run.cell.arm == arm]
        validation = [
            [np.mean([one.validation.loss for one in record.validation.domains.values()]) for record in run.records]
            for run in runs
        ]
        batch = [[record.validation.batch_loss for record in run.records] for run in runs]
        for line, losses_of_runs in zip(lines, (validation, batch), strict=True):
            assert list(line.get_xdata()) == list(STEPS)
            assert np.asarray(line.get_ydata()) == pytest.approx(np.mean(losses_of_runs, axis=0))


def test_the_loss_axis_is_logarithmic_unless_a_loss_is_not_positive() -> None:
    sweep = invented_sweep(arms=("ERM",), draws=1, troubled=False)
    figure = drawn(loss_over_steps(sweep, build_table(sweep)))
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    run = sweep.records[0]
    below = tuple(replace(one, validation=replace(one.validation, batch_loss=-0.5)) for one in run.records)
    sweep = replace(sweep, records=(changed_run(run, records=below), *sweep.records[1:]))
    figure = drawn(loss_over_steps(sweep, build_table(sweep)))
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


@given(st.lists(st.lists(st.floats(-1, 1), min_size=6, max_size=6), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_a_curve_is_the_mean_of_the_trial_seeds_means_and_its_band_their_range(
    table: Sequence[Sequence[float]],
) -> None:
    """Two runs a trial seed, three steps: (3 trial seeds, 2 runs x 3 steps)."""
    runs = invented_sweep(arms=("ERM",), test_domains=("0",), draws=2, troubled=False).records
    values = np.array(table).reshape(3, 2, 3)

    def points(run: RunRecords) -> list[tuple[int, float]]:
        return list(zip((5, 10, 15), values[run.cell.trial_seed, run.draws[0]].tolist(), strict=True))

    curve = curve_over_seeds(runs, points)
    by_seed = values.mean(axis=1)
    assert curve.steps == (5, 10, 15)
    assert curve.center == pytest.approx(by_seed.mean(axis=0), abs=1e-12)
    assert curve.low == pytest.approx(by_seed.min(axis=0), abs=1e-12)
    assert curve.high == pytest.approx(by_seed.max(axis=0), abs=1e-12)


def test_nan_stays_out_and_a_step_of_nothing_but_nan_is_absent(sweep_view: SweepView) -> None:
    runs = [run for run in sweep_view.records if run.cell.trial_seed < 2][:8]

    def points(run: RunRecords) -> list[tuple[int, float]]:
        return [(0, math.nan), (1, math.nan if run.draws == (0,) else 0.5)]

    curve = curve_over_seeds(runs, points)
    assert (curve.steps, curve.center) == ((1,), (0.5,))


def test_nothing_gives_an_empty_curve() -> None:
    assert curve_over_seeds([], lambda run: []).steps == ()
