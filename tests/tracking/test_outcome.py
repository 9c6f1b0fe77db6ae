from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from invented_ledger import START_TIME, finish, invented_plan, invented_record, invented_table

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan, PlannedRun
from gga_sweep.tracking.mlflow_api import MlflowClient, Run
from gga_sweep.tracking.outcome import publish_outcome
from gga_sweep.tracking.projection import Projection


@pytest.fixture
def projection(uri: str, plan: Plan, ledger: Ledger) -> Projection:
    return Projection(MlflowClient(uri), plan.sweep, ledger, START_TIME, live=False)


def project_all(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    for run in plan.runs:
        projection.project(run, ledger.run(str(run.folder)).read())


def finish_all(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    for run in plan.runs:
        finish(ledger, run)
    project_all(projection, plan, ledger)


def child_of(projection: Projection, run: PlannedRun) -> Run:
    child = projection.find(run.cell.arm, run.key)
    assert child is not None
    return projection.client.get_run(child.run_id)


def runs_with(projection: Projection, tag: str, value: str) -> list[Run]:
    return list(projection.client.search_runs([projection.experiment_id], f"tags.`gga_sweep.{tag}` = '{value}'"))


def test_the_winner_of_each_cell_is_marked_and_carries_its_weights(
    projection: Projection, plan: Plan, ledger: Ledger
) -> None:
    finish_all(projection, plan, ledger)
    publish_outcome(projection, plan.runs, invented_table(plan, ledger))
    winners = [run for run in plan.runs if run.draws == (1,)]  # the invented numbers favour the later draw
    marked = runs_with(projection, "selected", "true")
    assert {run.data.tags["gga_sweep.key"] for run in marked} == {run.key for run in winners}
    for run in winners:
        child = child_of(projection, run)
        folder = Path(projection.client.download_artifacts(child.info.run_id, ""))
        assert (folder / "selected.safetensors").read_bytes() == b"weights of " + str(run.key).encode()
        assert json.loads((folder / "run.json").read_text())["key"] == run.key
    loser = next(run for run in plan.runs if run not in winners)
    assert "gga_sweep.selected" not in child_of(projection, loser).data.tags
    assert projection.client.list_artifacts(child_of(projection, loser).info.run_id) == []


def test_after_each_winner_headway_is_told(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    finish_all(projection, plan, ledger)
    table, told = invented_table(plan, ledger), list[int]()

    def headway() -> None:
        told.append(len(runs_with(projection, "selected", "true")))

    publish_outcome(projection, plan.runs, table, headway=headway)
    assert told == list(range(1, len(table.selected) + 1))


def test_weights_that_are_not_what_the_run_left_are_not_hung_up(
    projection: Projection, plan: Plan, ledger: Ledger
) -> None:
    finish_all(projection, plan, ledger)
    table = invented_table(plan, ledger)
    for one in table.selected:
        (ledger.folder / "runs" / one.folder / "selected").write_bytes(b"other weights")
    publish_outcome(projection, plan.runs, table)
    winners = runs_with(projection, "selected", "true")
    assert len(winners) == len(table.selected)
    for winner in winners:
        files = [file.path for file in projection.client.list_artifacts(winner.info.run_id)]
        assert files == ["run.json"]


def test_weights_are_hung_up_once(
    projection: Projection, plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_all(projection, plan, ledger)
    table = invented_table(plan, ledger)
    publish_outcome(projection, plan.runs, table)
    monkeypatch.setattr(MlflowClient, "log_artifacts", None)  # using it again would raise
    second = Projection(projection.client, plan.sweep, ledger, START_TIME, live=False)
    publish_outcome(second, plan.runs, table)


def test_a_run_that_no_longer_wins_says_so(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    finish_all(projection, plan, ledger)
    table = invented_table(plan, ledger)
    publish_outcome(projection, plan.runs, table)
    loser, winner = plan.runs[:2]
    new = replace(table.selected[0], key=str(loser.key), folder=str(loser.folder), draw=0)
    publish_outcome(projection, plan.runs, replace(table, selected=(new, *table.selected[1:])))
    assert child_of(projection, loser).data.tags["gga_sweep.selected"] == "true"
    assert child_of(projection, winner).data.tags["gga_sweep.selected"] == "false"


def test_summaries_hold_mean_error_and_number_over_trial_seeds(storage: Path, uri: str) -> None:
    plan = invented_plan(storage, trial_seeds=[0, 1])
    ledger = Ledger(plan.sweep.folder)
    projection = Projection(MlflowClient(uri), plan.sweep, ledger, START_TIME, live=False)
    finish_all(projection, plan, ledger)
    publish_outcome(projection, plan.runs, invented_table(plan, ledger))
    summaries = runs_with(projection, "role", "summary")
    places = {(run.data.params["arm"], run.data.params["test_domains"]): run for run in summaries}
    assert len(summaries) == 6
    assert places.keys() == {(arm, test) for arm in ("ERM", "ERM + GGA") for test in ("0", "75", "(average)")}
    one = places["ERM", "75"]
    winner = next(run for run in plan.runs if run.cell.test_domains == ("75",) and run.draws == (1,))
    expected = invented_record(winner, 2).test.domains["75"].train.accuracy  # the same in both trial seeds
    assert one.data.metrics == {"summary/mean": expected, "summary/standard_error": 0.0, "summary/n": 2.0}
    assert one.data.tags["mlflow.parentRunId"] == projection.parent.run_id
    assert one.data.tags["mlflow.runName"] == "ERM · test 75 · summary"
    assert one.data.tags["gga_sweep.incomplete"] == "false"
    assert one.info.status == "FINISHED"
    assert places["ERM", "(average)"].data.tags["mlflow.runName"] == "ERM · average · summary"


def test_what_a_summary_lacks_is_nan_and_called_incomplete(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    finish(ledger, plan.runs[0])
    project_all(projection, plan, ledger)
    publish_outcome(projection, plan.runs, invented_table(plan, ledger))
    empty = next(run for run in runs_with(projection, "role", "summary") if run.data.params["arm"] == "ERM + GGA")
    assert math.isnan(empty.data.metrics["summary/mean"])
    assert empty.data.metrics["summary/n"] == 0.0
    assert empty.data.tags["gga_sweep.incomplete"] == "true"


def test_publishing_twice_changes_nothing(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    finish(ledger, plan.runs[0])  # so that some summaries are NaN, which differs from itself
    project_all(projection, plan, ledger)
    table = invented_table(plan, ledger)
    publish_outcome(projection, plan.runs, table)
    second = Projection(projection.client, plan.sweep, ledger, START_TIME, live=False)
    publish_outcome(second, plan.runs, table)
    summaries = runs_with(projection, "role", "summary")
    assert len(summaries) == 6
    for run in summaries:
        for key in run.data.metrics:
            assert len(projection.client.get_metric_history(run.info.run_id, key)) == 1


def test_a_summary_follows_the_sweep_as_it_grows(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    finish(ledger, plan.runs[0])
    project_all(projection, plan, ledger)
    publish_outcome(projection, plan.runs, invented_table(plan, ledger))
    finish(ledger, plan.runs[1])  # the later draw, which is better
    project_all(projection, plan, ledger)
    publish_outcome(projection, plan.runs, invented_table(plan, ledger))
    (run,) = [
        run
        for run in runs_with(projection, "role", "summary")
        if (run.data.params["arm"], run.data.params["test_domains"]) == ("ERM", "0")
    ]
    assert run.data.metrics["summary/mean"] == invented_record(plan.runs[1], 2).test.domains["0"].train.accuracy


def test_summaries_of_an_arm_that_is_gone_are_deleted(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    finish_all(projection, plan, ledger)
    table = invented_table(plan, ledger)
    publish_outcome(projection, plan.runs, table)
    publish_outcome(projection, plan.runs, replace(table, rows=table.rows[:1]))
    assert {run.data.params["arm"] for run in runs_with(projection, "role", "summary")} == {"ERM"}


def test_tables_hang_on_the_parent(projection: Projection, plan: Plan, ledger: Ledger) -> None:
    ledger.store.replace("table.md", b"| arm |")
    publish_outcome(projection, plan.runs, None, ["table.md", "nothing.md"])
    client, parent = projection.client, projection.parent.run_id
    assert Path(client.download_artifacts(parent, "table.md")).read_text() == "| arm |"
    assert {file.path for file in client.list_artifacts(parent)} & {"table.md", "nothing.md"} == {"table.md"}


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
def test_the_parent_ends_as_its_runs_did(
    last: RunStatus | None, shown: str, projection: Projection, plan: Plan, ledger: Ledger
) -> None:
    for run in plan.runs[:-1]:
        finish(ledger, run)
    if last is not None:
        finish(ledger, plan.runs[-1], last)
    project_all(projection, plan, ledger)
    publish_outcome(projection, plan.runs, None)
    assert projection.client.get_run(projection.parent.run_id).info.status == shown
