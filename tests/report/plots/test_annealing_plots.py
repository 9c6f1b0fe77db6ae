"""What the annealing plots draw is what the records say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from invented_sweep import STEPS, WINDOW, invented_sweep
from made_runs import changed_run
from matplotlib.patches import Rectangle

from gga_sweep.report.plots.annealing import alignment_gained, alignment_over_steps, annealing_window
from gga_sweep.selection import SweepView, Table, build_table


def test_each_arm_has_a_line_of_its_mean_smallest_cosine() -> None:
    sweep = invented_sweep(troubled=False)
    figure = alignment_over_steps(sweep, build_table(sweep))
    assert figure is not None
    lines = figure.axes[0].lines
    assert len(lines) == len(sweep.arms)
    for arm, line in zip(sweep.arms, lines, strict=True):
        runs = [run for run in sweep.records if run.cell.arm == arm]
        cosines = np.array([[record.validation.agreement.minimum for record in run.records] for run in runs])
        assert list(line.get_xdata()) == list(STEPS)
        assert np.asarray(line.get_ydata()) == pytest.approx(cosines.mean(axis=0))


def test_the_annealed_steps_are_shaded_once(sweep_view: SweepView, table: Table) -> None:
    figure = alignment_over_steps(sweep_view, table)
    assert figure is not None
    (window,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert (window.get_x(), window.get_x() + window.get_width()) == (WINDOW.start - 0.5, WINDOW.stop - 0.5)


def test_the_window_spans_all_annealed_steps_of_an_arm(sweep_view: SweepView) -> None:
    assert annealing_window(sweep_view.records) == (WINDOW.start, WINDOW.stop - 1)
    assert annealing_window([run for run in sweep_view.records if run.cell.arm == "ERM"]) is None


def test_each_annealed_arm_has_a_panel_with_the_three_gains() -> None:
    sweep = invented_sweep(troubled=False)
    figure = alignment_gained(sweep, build_table(sweep))
    assert figure is not None
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
    from gga_sweep.records import RunStatus

    running = replace(
        sweep_view, records=tuple(changed_run(run, status=RunStatus.RUNNING) for run in sweep_view.records)
    )
    assert alignment_over_steps(running, table) is None
    assert alignment_gained(running, table) is None


def test_there_is_no_figure_for_a_single_training_domain(sweep_view: SweepView, table: Table) -> None:
    def alone(record):
        agreement = replace(record.validation.agreement, minimum=math.nan)
        return replace(record, validation=replace(record.validation, agreement=agreement))

    records = tuple(changed_run(run, records=tuple(map(alone, run.records))) for run in sweep_view.records)
    assert alignment_over_steps(replace(sweep_view, records=records), table) is None
