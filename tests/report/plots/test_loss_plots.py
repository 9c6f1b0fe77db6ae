"""What the loss curves draw is what the records say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from invented_sweep import STEPS, invented_sweep
from made_runs import changed_run

from gga_sweep.records import RunStatus
from gga_sweep.report.plots.losses import loss_over_steps
from gga_sweep.selection import SweepView, build_table


def test_each_arm_has_a_line_of_its_mean_validation_and_minibatch_loss() -> None:
    sweep = invented_sweep(troubled=False)
    losses = {
        run.key: tuple(replace(one, validation=replace(one.validation, batch_loss=0.1 + i)) for one in run.records)
        for i, run in enumerate(sweep.records)
    }
    sweep = replace(sweep, records=tuple(changed_run(run, records=losses[run.key]) for run in sweep.records))
    figure = loss_over_steps(sweep, build_table(sweep))
    assert figure is not None
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
    figure = loss_over_steps(sweep, build_table(sweep))
    assert figure is not None
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    run = sweep.records[0]
    below = tuple(replace(one, validation=replace(one.validation, batch_loss=-0.5)) for one in run.records)
    sweep = replace(sweep, records=(changed_run(run, records=below), *sweep.records[1:]))
    figure = loss_over_steps(sweep, build_table(sweep))
    assert figure is not None
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_runs_that_are_not_final_are_not_drawn(sweep_view: SweepView) -> None:
    running = replace(
        sweep_view, records=tuple(changed_run(run, status=RunStatus.RUNNING) for run in sweep_view.records)
    )
    assert loss_over_steps(running, build_table(running)) is None
