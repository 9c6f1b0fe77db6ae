"""Winners, summaries and the state of a sweep, as MLflow shows them at the end."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from invented_ledger import finish, invented_plan, invented_record
from memory_store import MemoryStore
from tracked_sweep import TrackedSweep

from gga_sweep.records import RunStatus
from gga_sweep.selection import Table
from gga_sweep.tracking.sweep_outcome import publish_outcome


def publish(tracked: TrackedSweep, table: Table | None, *artifacts: str) -> None:
    projection = tracked.project(*tracked.plan.runs, live=False)
    publish_outcome(projection, tracked.plan.runs, table, artifacts)


def summaries(tracked: TrackedSweep) -> dict[tuple[str, str], SimpleNamespace]:
    """With their metrics, by arm and test domains."""
    shown = {}
    for run in tracked.runs("summary"):
        run.metrics = {key: value for key, _, _, value in run.points}
        assert len(run.metrics) == len(run.points)
        shown[run.params["arm"], run.params["test_domains"]] = run
    return shown


def test_the_winner_of_each_cell_is_marked_and_carries_its_weights(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    publish(tracked, tracked.table)
    winners = [run for run in tracked.plan.runs if run.draws == (1,)]  # the invented numbers favour the later draw
    assert {run.tags["gga_sweep.key"] for run in tracked.runs("run", selected="true")} == {run.key for run in winners}
    for run in winners:
        files = tracked.store.artifacts[tracked.child(run).run_id]
        assert files["selected.safetensors"] == b"weights of " + run.key.encode()
        assert json.loads(files["run.json"])["key"] == run.key
    loser = next(run for run in tracked.plan.runs if run not in winners)
    assert "gga_sweep.selected" not in tracked.child(loser).tags
    assert tracked.child(loser).run_id not in tracked.store.artifacts


def test_progress_is_reported_after_each_winner(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    projection, table, marked = tracked.project(*tracked.plan.runs), tracked.table, list[int]()
    publish_outcome(
        projection,
        tracked.plan.runs,
        table,
        progressed=lambda: marked.append(len(tracked.runs("run", selected="true"))),
    )
    assert marked == list(range(1, len(table.selected) + 1))


def test_weights_that_are_not_what_the_run_left_are_not_attached(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    table = tracked.table
    for one in table.selected:
        tracked.ledger.store.replace(f"runs/{one.folder}/selected", b"other weights")
    publish(tracked, table)
    winners = tracked.runs("run", selected="true")
    assert len(winners) == len(table.selected)
    assert {tuple(tracked.store.artifacts[winner.run_id]) for winner in winners} == {("run.json",)}


def test_weights_are_attached_once(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    table = tracked.table
    publish(tracked, table)
    tracked.store.artifacts.clear()
    publish(tracked, table)
    assert tracked.store.artifacts == {}


def test_a_run_that_no_longer_wins_says_so(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    table = tracked.table
    publish(tracked, table)
    loser, winner = tracked.plan.runs[:2]
    new = replace(table.selected[0], key=str(loser.key), folder=str(loser.folder), draw=0)
    publish(tracked, replace(table, selected=(new, *table.selected[1:])))
    assert tracked.child(loser).tags["gga_sweep.selected"] == "true"
    assert tracked.child(winner).tags["gga_sweep.selected"] == "false"


def test_summaries_hold_mean_error_and_number_over_trial_seeds(storage: Path, store: MemoryStore) -> None:
    tracked = TrackedSweep(invented_plan(storage, trial_seeds=[0, 1]), store)
    tracked.finish_all()
    publish(tracked, tracked.table)
    shown = summaries(tracked)
    assert len(tracked.runs("summary")) == 6
    assert shown.keys() == {(arm, test) for arm in ("ERM", "ERM + GGA") for test in ("0", "75", "(average)")}
    one = shown["ERM", "75"]
    winner = next(run for run in tracked.plan.runs if run.cell.test_domains == ("75",) and run.draws == (1,))
    expected = invented_record(winner, 2).test.domains["75"].train.accuracy  # the same in both trial seeds
    assert one.metrics == {"summary/mean": expected, "summary/standard_error": 0.0, "summary/n": 2.0}
    assert one.tags["mlflow.parentRunId"] == tracked.ids("sweep")[0]
    assert one.tags["mlflow.runName"] == "ERM · test 75 · summary"
    assert one.tags["gga_sweep.incomplete"] == "false"
    assert one.status == "FINISHED"
    assert shown["ERM", "(average)"].tags["mlflow.runName"] == "ERM · average · summary"


def test_a_missing_value_of_a_summary_is_nan_and_called_incomplete(tracked: TrackedSweep) -> None:
    finish(tracked.ledger, tracked.plan.runs[0])
    publish(tracked, tracked.table)
    empty = summaries(tracked)["ERM + GGA", "0"]
    assert math.isnan(empty.metrics["summary/mean"])
    assert empty.metrics["summary/n"] == 0.0
    assert empty.tags["gga_sweep.incomplete"] == "true"
    before = tracked.ids("summary")
    publish(tracked, tracked.table)
    assert tracked.ids("summary") == before  # NaN equals NaN


def test_a_summary_follows_the_sweep_as_it_grows(tracked: TrackedSweep) -> None:
    first, better = tracked.plan.runs[:2]
    for run in (first, better):
        tracked.finish(run)
        publish(tracked, tracked.table)
    expected = invented_record(better, 2).test.domains["0"].train.accuracy
    assert summaries(tracked)["ERM", "0"].metrics["summary/mean"] == expected
    assert len(tracked.runs("summary")) == 6


def test_summaries_of_an_arm_that_is_gone_are_deleted(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    table = tracked.table
    publish(tracked, table)
    publish(tracked, replace(table, rows=table.rows[:1]))
    assert {arm for arm, _ in summaries(tracked)} == {"ERM"}


def test_tables_are_attached_to_the_parent(tracked: TrackedSweep) -> None:
    tracked.ledger.store.replace("table.md", b"| arm |")
    publish(tracked, None, "table.md", "nothing.md")
    [parent] = tracked.ids("sweep")
    assert tracked.store.artifacts[parent] == {"table.md": b"| arm |"}


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        (RunStatus.DIVERGED, "FINISHED"),
        (RunStatus.STOPPED, "FINISHED"),
        (RunStatus.FAILED, "FAILED"),
        (RunStatus.OUT_OF_MEMORY, "FAILED"),
        (RunStatus.PREEMPTED, "KILLED"),
        (None, "KILLED"),
    ],
)
def test_the_parent_ends_as_its_runs_did(last: RunStatus | None, shown: str, tracked: TrackedSweep) -> None:
    tracked.finish(*tracked.plan.runs[:-1])
    if last is not None:
        tracked.finish(tracked.plan.runs[-1], status=last)
    publish(tracked, None)
    assert tracked.runs("sweep")[0].status == shown
