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

from gga_sweep.ledger.origin import Origin
from gga_sweep.records import RunStatus
from gga_sweep.report.make_report import Report
from gga_sweep.report.markdown import escape
from gga_sweep.report.verdict import verdicts_in_words
from gga_sweep.selection.verdict import verdicts
from gga_sweep.tracking.names import LONGEST_VALUE, NOTE
from gga_sweep.tracking.notes import is_ours, sweep_note
from gga_sweep.tracking.sweep_outcome import publish_outcome


def publish(tracked: TrackedSweep, report: Report | None, *artifacts: str) -> None:
    projection = tracked.project(*tracked.plan.runs, live=False)
    publish_outcome(projection, tracked.plan.runs, report, artifacts)


def summaries(tracked: TrackedSweep) -> dict[tuple[str, str], SimpleNamespace]:
    """With their metrics, by arm and test domains."""
    shown = {}
    for run in tracked.runs("summary"):
        run.metrics = {key: value for key, _, _, value in run.points}
        assert len(run.metrics) == len(run.points)
        shown[run.params["arm"], run.params["test_domains"]] = run
    return shown


def shown_models(tracked: TrackedSweep) -> dict[str, SimpleNamespace]:
    """The logged models, by the id of their run."""
    models = [model for model in tracked.store.models.values() if not model.is_deleted]
    assert len({model.source_run_id for model in models}) == len(models)
    return {model.source_run_id: model for model in models}


def test_the_winner_of_each_cell_is_marked_and_carries_its_weights(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    publish(tracked, tracked.report)
    winners = [run for run in tracked.plan.runs if run.draws == (1,)]  # the invented numbers favour the later draw
    assert {run.tags["gga_sweep.key"] for run in tracked.runs("run", selected="true")} == {run.key for run in winners}
    models = shown_models(tracked)
    assert len(models) == len(winners)
    for run in winners:
        model = models[tracked.child(run).run_id]
        files = tracked.store.artifacts[model.model_id]
        assert files["data/selected.safetensors"] == b"weights of " + run.key.encode()
        assert json.loads(files["data/run.json"])["key"] == run.key
        assert b"signature" in files["MLmodel"]
        assert tracked.child(run).outputs == {(model.model_id, 2)}
    loser = next(run for run in tracked.plan.runs if run not in winners)
    assert "gga_sweep.selected" not in tracked.child(loser).tags
    assert not tracked.child(loser).outputs


def test_progress_is_reported_after_each_winner(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    projection, report, marked = tracked.project(*tracked.plan.runs), tracked.report, list[int]()
    publish_outcome(
        projection,
        tracked.plan.runs,
        report,
        progressed=lambda: marked.append(len(tracked.runs("run", selected="true"))),
    )
    n = len(report.table.selected)
    assert marked == [*range(1, n + 1), *[n] * n]  # marked, then their models logged


def test_weights_that_are_not_what_the_run_left_are_no_model(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    report = tracked.report
    for one in report.table.selected:
        tracked.ledger.store.replace(f"runs/{one.folder}/selected", b"other weights")
    publish(tracked, report)
    assert len(tracked.runs("run", selected="true")) == len(report.table.selected)
    assert shown_models(tracked) == {}


def test_models_are_logged_once(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    report = tracked.report
    publish(tracked, report)
    before = shown_models(tracked)
    publish(tracked, report)
    assert shown_models(tracked) == before
    cut_off, twice, *_ = before.values()
    tracked.store.models[cut_off.model_id].status = "PENDING"
    tracked.store._create_logged_model("1", "again", twice.source_run_id, twice.tags)
    publish(tracked, report)
    assert shown_models(tracked).keys() == before.keys()
    assert {model.status for model in shown_models(tracked).values()} == {"READY"}


def test_a_run_that_no_longer_wins_says_so(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    report = tracked.report
    publish(tracked, report)
    loser, winner = tracked.plan.runs[:2]
    table = report.table
    new = replace(table.selected[0], key=str(loser.key), folder=str(loser.folder), draw=0)
    publish(tracked, replace(report, table=replace(table, selected=(new, *table.selected[1:]))))
    assert tracked.child(loser).tags["gga_sweep.selected"] == "true"
    assert tracked.child(winner).tags["gga_sweep.selected"] == "false"


def test_summaries_hold_mean_error_and_number_over_trial_seeds(storage: Path, store: MemoryStore) -> None:
    tracked = TrackedSweep(invented_plan(storage, trial_seeds=[0, 1]), store)
    tracked.finish_all()
    publish(tracked, tracked.report)
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


def test_the_difference_its_bounds_and_p_are_metrics_of_summary_and_parent(storage: Path, store: MemoryStore) -> None:
    tracked = TrackedSweep(invented_plan(storage, trial_seeds=[0, 1]), store)
    tracked.finish_all()
    report = tracked.report
    [contrast] = report.comparison.selected
    difference = replace(contrast.difference, mean=0.02, low=-0.01, high=0.05, p=0.04)
    changed = replace(contrast, difference=difference, holm_p=0.12)
    comparison = replace(report.comparison, selected=(changed,), verdicts=verdicts([changed]))
    publish(tracked, replace(report, comparison=comparison))
    expected = {"difference/mean": 0.02, "difference/low": -0.01, "difference/high": 0.05, "difference/p": 0.12}
    shown = summaries(tracked)
    assert expected.items() <= shown["ERM + GGA", "(average)"].metrics.items()
    assert "Too few trial seeds to compare ERM + GGA with ERM" in shown["ERM + GGA", "(average)"].tags[NOTE]
    assert not expected.keys() & shown["ERM", "(average)"].metrics.keys()
    [parent] = tracked.runs("sweep")
    values = {key: value for key, _, _, value in parent.points}
    assert {f"{name}/ERM with GGA": value for name, value in expected.items()}.items() <= values.items()
    assert values["accuracy/ERM"] == report.table.rows[0].average.mean
    publish(tracked, replace(report, comparison=comparison))
    assert len(parent.points) == len(values)  # nothing stands twice
    alone = replace(report.table, rows=report.table.rows[:1])
    publish(tracked, replace(report, table=alone, comparison=replace(comparison, verdicts=())))
    latest = {key: value for key, _, time, value in sorted(parent.points, key=lambda point: point[2])}
    assert math.isnan(latest["difference/mean/ERM with GGA"])
    assert latest["accuracy/ERM"] == values["accuracy/ERM"]


def test_parent_and_experiment_are_described_by_verdict_and_table(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    report = tracked.report
    publish(tracked, report)
    [parent], [experiment] = tracked.runs("sweep"), tracked.store.experiments
    note = parent.tags[NOTE]
    assert experiment.tags[NOTE] == note
    assert note.startswith(escape(verdicts_in_words(report.comparison.verdicts)[0]))
    assert "| ERM + GGA | " in note
    later = replace(report, comparison=replace(report.comparison, verdicts=()))
    experiment.tags[NOTE] = "ours"
    publish(tracked, later)
    assert experiment.tags[NOTE] == "ours"
    assert tracked.runs("sweep")[0].tags[NOTE] not in (note, "ours")


def test_a_description_that_somebody_edited_is_known_by_its_mark() -> None:
    note = sweep_note("1")
    assert is_ours(note)
    assert is_ours(None)
    assert not is_ours(note.replace("parent", "Parent"))
    assert not is_ours(f"{note} More.")


def test_a_description_fits_into_a_tag(storage: Path, store: MemoryStore) -> None:
    arms = [{"algorithm": "ERM", "name": f"{number}{'a' * 60}"} for number in range(40)]
    tracked = TrackedSweep(invented_plan(storage, arms=arms, defaults={}), store)
    note = sweep_note("1", tracked.report)
    assert len(note) <= LONGEST_VALUE
    assert "[Results](" in note


def test_runs_name_their_user_source_and_commit(tracked: TrackedSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = Origin("1.0", "a" * 40, False, "gga-sweep run demo --storage /data")
    monkeypatch.setattr("gga_sweep.tracking.descriptions.read_origin", lambda ledger: origin)
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    tracked.finish_all()
    publish(tracked, tracked.report)
    expected = {
        "mlflow.user": "anna",
        "mlflow.source.name": "gga-sweep run",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": "a" * 40,
    }
    runs = [*tracked.runs("sweep"), *tracked.runs("run"), *tracked.runs("summary")]
    assert len(runs) == 1 + 8 + 6
    for run in runs:
        assert expected.items() <= run.tags.items()
        assert run.tags[NOTE]
    before = tracked.content
    monkeypatch.setattr("getpass.getuser", lambda: "ben")
    publish(tracked, tracked.report)
    assert tracked.content == before  # another user's sync rewrites nothing
    assert tracked.runs("run")[0].tags["mlflow.user"] == "anna"


def test_a_missing_value_of_a_summary_is_nan_and_called_incomplete(tracked: TrackedSweep) -> None:
    finish(tracked.ledger, tracked.plan.runs[0])
    publish(tracked, tracked.report)
    empty = summaries(tracked)["ERM + GGA", "0"]
    assert math.isnan(empty.metrics["summary/mean"])
    assert empty.metrics["summary/n"] == 0.0
    assert empty.tags["gga_sweep.incomplete"] == "true"
    before = tracked.ids("summary")
    publish(tracked, tracked.report)
    assert tracked.ids("summary") == before  # NaN equals NaN


def test_a_summary_follows_the_sweep_as_it_grows(tracked: TrackedSweep) -> None:
    first, better = tracked.plan.runs[:2]
    for run in (first, better):
        tracked.finish(run)
        publish(tracked, tracked.report)
    expected = invented_record(better, 2).test.domains["0"].train.accuracy
    assert summaries(tracked)["ERM", "0"].metrics["summary/mean"] == expected
    assert len(tracked.runs("summary")) == 6


def test_summaries_of_an_arm_that_is_gone_are_deleted(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    report = tracked.report
    publish(tracked, report)
    table, comparison = replace(report.table, rows=report.table.rows[:1]), replace(report.comparison, verdicts=())
    publish(tracked, replace(report, table=table, comparison=comparison))
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
