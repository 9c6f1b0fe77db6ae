"""Launches whose runs are suggested or ended early: what they train, and that launching again continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from small_sweep import small_sweep

import gga_sweep
from gga_sweep.execution.replay import compare, replay
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.records import RunStatus

pytestmark = pytest.mark.usefixtures("local_ray", "quick_launches")

ADAPTIVE: dict[str, Any] = {
    "test_domains": ["north", "south"],
    "search": "tpe",
    "draws": 5,
    "adaptive": {"n_startup_trials": 2},
    "early_stopping": {"reduction_factor": 2, "grace_period": 6},
    "search_space": {"lr": {"loguniform": [1e-3, 1e-1]}, "annealing.radius": {"loguniform": [1e-4, 1e-2]}},
    "training": {"steps": 10, "evaluate_every": 3},
}


def sweep_of(storage: Path, **fields: Any) -> gga_sweep.SweepSpec:
    return gga_sweep.load(small_sweep(**{**ADAPTIVE, **fields}), storage=storage)


def contents_of(result: gga_sweep.SweepResult) -> dict[str, Any]:
    """By run: its cell and draws, its end, and its evaluations, bit for bit."""
    return {
        f"{run.cell} {run.key}": (
            run.draws,
            run.status,
            run.reason,
            run.records,
            result.ledger.run(run.folder).digests(),
        )
        for run in result.records
    }


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, local_ray: None, quick_launches: None) -> gga_sweep.SweepResult:
    """Two arms, two test domains, five draws."""
    return gga_sweep.run_sweep(sweep_of(tmp_path_factory.mktemp("adaptive")))


def test_every_draw_is_trained_and_some_are_ended_early(swept: gga_sweep.SweepResult) -> None:
    assert sum(len(run.draws) for run in swept.records) == 2 * 2 * 5
    statuses = {run.status for run in swept.records}
    assert statuses == {RunStatus.DONE, RunStatus.STOPPED}
    for run in swept.records:
        if run.status is RunStatus.STOPPED:
            assert run.records[-1].step == 6
            assert str(run.reason).startswith("behind its cell at step 6: validation accuracy 0.")
    assert not swept.table().incomplete
    assert swept.tracked


def test_the_table_says_how_it_differs_from_a_random_search(swept: gga_sweep.SweepResult) -> None:
    notes = " ".join(swept.report.view.notes)
    stopped = sum(run.status is RunStatus.STOPPED for run in swept.records)
    assert (
        f"The first 2 draws are random; later ones are suggested by tpe with Optuna {optuna.__version__}, in each cell."
        in notes
    )
    assert "Arms have no matched draws." in notes
    assert (
        f"Stopped early: {stopped} runs outside the best 1/2 of their cell at a rung. The first rung is after 6 steps."
        in notes
    )
    assert swept.report.comparison.matched == ()
    assert swept.report.comparison.budget == ()


def test_a_run_trained_alone_has_the_same_bytes(swept: gga_sweep.SweepResult, tmp_path: Path) -> None:
    sweep = swept.plan.sweep
    done = [run for run in swept.records if run.status is RunStatus.DONE][-1]
    assert max(done.draws) >= 2
    folder, _ = replay(sweep, done.key, tmp_path / "done", show=lambda progress: None)
    assert set((compare(folder, sweep) or {}).values()) == {True}
    stopped = next(run for run in swept.records if run.status is RunStatus.STOPPED)
    folder, _ = replay(sweep, stopped.key, tmp_path / "stopped", show=lambda progress: None)
    assert folder.read_records()[: len(stopped.records)] == stopped.records


def test_a_second_launch_trains_nothing_and_more_draws_continue(swept: gga_sweep.SweepResult) -> None:
    storage = swept.plan.sweep.storage
    again = gga_sweep.run_sweep(sweep_of(storage))
    assert contents_of(again) == contents_of(swept)
    more = gga_sweep.run_sweep(sweep_of(storage, draws=6))
    assert contents_of(swept).items() <= contents_of(more).items()
    assert sum(len(run.draws) for run in more.records) == 2 * 2 * 6
    assert len(read_plan(more.ledger.folder).runs) == len(more.records)
