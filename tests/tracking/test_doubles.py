"""What a store was made to hold twice, or of an earlier life, and what is left of it once a projection has opened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invented_ledger import (
    GGA_L_ARM,
    START_TIME,
    finish,
    invented_annealed_step,
    invented_noisy_step,
    invented_plan,
    invented_record,
    invented_table,
    progress,
    start,
)
from memory_store import MemoryStore
from stores import content_of

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import LEFT_RUNNING, RunFolder
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan, PlannedRun
from gga_sweep.tracking import names
from gga_sweep.tracking.experiment import find_or_create_experiment
from gga_sweep.tracking.outcome import publish_outcome
from gga_sweep.tracking.projection import Projection


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Without the store in a file that other tests need."""
    return tmp_path


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


class Opened:
    """Opens projections of one ledger in one store, as launches do one after the other."""

    def __init__(self, store: MemoryStore, plan: Plan) -> None:
        self.store = store
        self.plan = plan
        self.ledger = Ledger(plan.sweep.folder)

    def __call__(self, faults: Iterator[str | None] | None = None, **options: Any) -> Projection:
        client = self.store.connect("", faults)
        return Projection(client, self.plan.sweep, self.ledger, START_TIME + 1000, **options)

    def project(self, *runs: PlannedRun, **options: Any) -> Projection:
        projection = self(**options)
        for run in runs:
            projection.project(run, self.ledger.run(str(run.folder)).read())
        return projection

    def content(self) -> dict[str, Any]:
        return content_of(self.store.connect(), self.plan.sweep.folder, volatile=True)

    def there(self, role: str) -> list[str]:
        """Ids of the runs of a role that were not deleted."""
        return [
            run.run_id
            for run in self.store.runs.values()
            if run.tags[names.ROLE] == role and run.lifecycle_stage == "active"
        ]


@pytest.fixture
def opened(store: MemoryStore, plan: Plan) -> Opened:
    return Opened(store, plan)


def twin(store: MemoryStore, run_id: str, **changes: Any) -> str:
    """What a request that was carried out twice leaves: the same run under another id, with nothing in it yet."""
    one = store.runs[run_id]
    told_later = {names.STATUS, names.RECORDS, names.ANNEALED_STEPS, names.SHOWN_DIGEST, names.REASON, names.INCOMPLETE}
    tags = {key: value for key, value in one.tags.items() if key not in told_later}
    other: str = store._create_run(one.experiment_id, one.start_time, tags).info.run_id
    store.runs[other].__dict__.update(changes)
    return other


def test_of_two_children_in_one_place_the_one_whose_id_sorts_first_stays(
    opened: Opened, plan: Plan, store: MemoryStore
) -> None:
    run = plan.runs[-1]
    finish(opened.ledger, run)
    opened.project(run)
    undisturbed = opened.content()
    [made] = opened.there("run")
    others = [twin(store, made), twin(store, made)]
    opened.project(run)
    assert opened.there("run") == [min(made, *others)]
    assert opened.content() == undisturbed  # whichever stays is brought up to date


def test_of_two_children_in_one_place_the_older_stays(opened: Opened, plan: Plan, store: MemoryStore) -> None:
    run = plan.runs[0]
    opened.ledger.run(str(run.folder)).mark(RunStatus.FAILED, "it had no header yet, so nothing tells when it started")
    opened.project(run)
    [made] = opened.there("run")
    older = [twin(store, made, start_time=store.runs[made].start_time - seconds) for seconds in (1, 3, 2)]
    opened.project(run)
    assert opened.there("run") == [older[1]]


def test_of_several_parents_the_oldest_stays_and_takes_their_children(
    opened: Opened, plan: Plan, store: MemoryStore
) -> None:
    for run in plan.runs:
        finish(opened.ledger, run)
    opened.project(*plan.runs)
    undisturbed = opened.content()
    [parent] = opened.there("sweep")
    children = set(opened.there("run"))
    older = twin(store, parent, start_time=store.runs[parent].start_time - 1)
    twin(store, parent, start_time=store.runs[parent].start_time + 1)
    opened()
    assert opened.there("sweep") == [older]
    assert set(opened.there("run")) == children  # the same ones: nothing is sent again
    assert opened.content() == undisturbed


def test_children_of_a_parent_that_was_deleted_are_not_made_again(
    opened: Opened, plan: Plan, store: MemoryStore
) -> None:
    finish(opened.ledger, plan.runs[0])
    opened.project(plan.runs[0])
    [parent] = opened.there("sweep")
    [child] = opened.there("run")
    store.runs[parent].lifecycle_stage = "deleted"
    assert opened.project(plan.runs[0]).parent.run_id != parent
    assert opened.there("run") == [child]
    assert opened.content()["faults"] == []


def test_parents_that_cannot_all_be_reached_keep_their_children(opened: Opened, plan: Plan, store: MemoryStore) -> None:
    """Wherever the opening breaks off: a parent goes only after its children have moved."""
    for run in plan.runs[:3]:
        finish(opened.ledger, run)
    opened.project(*plan.runs[:3])
    undisturbed = opened.content()
    [parent] = opened.there("sweep")
    twin(store, parent, start_time=0)
    broken = 0
    for good in range(100):
        try:
            opened(iter([None] * good + ["before"]))
        except ConnectionError:
            broken += 1
        else:
            break
    assert broken > 6
    assert len(opened.there("run")) == 3
    opened()
    assert opened.content() == undisturbed


def test_of_two_summaries_in_one_place_one_stays(opened: Opened, plan: Plan, store: MemoryStore) -> None:
    for run in plan.runs:
        finish(opened.ledger, run)
    table = invented_table(plan, opened.ledger)
    publish_outcome(opened.project(*plan.runs, live=False), plan.runs, table)
    undisturbed = opened.content()
    before = opened.there("summary")
    for summary in before:
        twin(store, summary)
    publish_outcome(opened(live=False), plan.runs, table)
    assert len(opened.there("summary")) == len(before)
    assert opened.content() == undisturbed


def test_a_summary_that_a_slow_store_writes_late_is_one_point(plan: Plan) -> None:
    store = MemoryStore(late_seconds=3600)
    opened = Opened(store, plan)
    finish(opened.ledger, plan.runs[0])
    opened.project(plan.runs[0])
    table = invented_table(plan, opened.ledger)
    for good in range(200):
        try:
            publish_outcome(opened(iter([None] * good + ["late"]), live=False), plan.runs, table)
        except TimeoutError:
            time.sleep(0.001)  # the clock has moved on when it is written again
        else:
            break
    store.settle(everything=True)
    publish_outcome(opened(live=False), plan.runs, table)
    assert opened.content()["faults"] == []
    assert len(opened.content()["summaries"]) == 6


def test_an_experiment_that_a_slow_store_made_while_we_looked_is_ours(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folder = MemoryStore(), plan.sweep.folder
    first = find_or_create_experiment(store.connect(), folder)
    client = store.connect()
    monkeypatch.setattr(store, "_search_experiments", lambda **options: [])  # it was not there yet
    assert find_or_create_experiment(client, folder) == first
    assert len(store.experiments) == 1


def test_a_run_put_back_into_the_queue_is_not_shown_until_its_new_life(opened: Opened, plan: Plan) -> None:
    run = plan.runs[-1]
    folder = finish(opened.ledger, run, RunStatus.DIVERGED, evaluations=2, reason="the loss is NaN")
    assert opened.project(run).up_to_date(run)
    folder.requeue("`gga-sweep retry`")
    assert not opened().up_to_date(run)
    opened.project(run)
    assert opened.content()["children"] == {}
    progress(start(opened.ledger, run, START_TIME + 500), run, 1)
    opened.project(run)
    [child] = opened.content()["children"].values()
    assert child["start"] == int((START_TIME + 500) * 1000)
    assert "gga_sweep.reason" not in child["tags"]


@pytest.mark.parametrize("evaluations", [2, 3])
def test_points_of_two_lives_never_mix(evaluations: int, opened: Opened, plan: Plan) -> None:
    """Nobody saw the run in the queue: the store was away."""
    run = plan.runs[-1]
    folder = finish(opened.ledger, run)
    opened.project(run)
    folder.requeue("`gga-sweep retry`")
    second = start(opened.ledger, run, START_TIME + 500)
    progress(second, run, evaluations)
    second.write_state(RunStatus.DIVERGED, 2)
    assert not opened().up_to_date(run)
    opened.project(run)
    [child] = opened.content()["children"].values()
    assert [step for step, _, _ in child["metrics"]["val/accuracy"]] == [0, 2, 4][:evaluations]
    assert opened.project(run).up_to_date(run)
    assert len(opened.there("run")) == 1


def rewritten(folder: RunFolder, run: PlannedRun, loss: float) -> None:
    """Its second evaluation, once more, with another loss."""
    records = [invented_record(run, 0), invented_record(run, 2)]
    records[1] = replace(records[1], validation=replace(records[1].validation, batch_loss=loss))
    folder.write_records(records)


def test_an_evaluation_made_again_with_another_result_replaces_the_first(opened: Opened, plan: Plan) -> None:
    """As after a checkpoint, in another environment: the run is the same, its last bits are not."""
    run = plan.runs[0]
    folder = start(opened.ledger, run)
    progress(folder, run, 2)
    opened.project(run)
    [before] = opened.there("run")
    rewritten(folder, run, loss=0.123)
    opened.project(run)
    [child] = opened.content()["children"].values()
    assert opened.there("run") != [before]
    assert [value for _, _, value in child["metrics"]["train/batch_loss"]] == [
        invented_record(run, 0).validation.batch_loss,
        0.123,
    ]


def test_an_evaluation_made_again_with_the_same_result_changes_nothing(opened: Opened, plan: Plan) -> None:
    run = plan.runs[-1]
    folder = start(opened.ledger, run)
    progress(folder, run, 2)
    opened.project(run)
    before, content = opened.there("run"), opened.content()
    folder.write_records([invented_record(run, 0)])  # it goes on from a checkpoint
    folder.write_annealed([invented_annealed_step(1)])
    opened.project(run)
    assert opened.content() == content
    progress(folder, run, 2)
    opened.project(run)
    assert opened.there("run") == before
    content["children"][run.cell.arm, run.key]["tags"].pop("gga_sweep.reason", None)
    assert opened.content() == content


@pytest.mark.parametrize("annealed", [False, True])
def test_annealed_steps_made_again_with_another_result_replace_the_first(
    annealed: bool, store: MemoryStore, storage: Path
) -> None:
    plan = invented_plan(storage, arms=[{"algorithm": "ERM"}, GGA_L_ARM], defaults={})
    opened, run = Opened(store, plan), plan.runs[-1]
    folder = start(opened.ledger, run)
    progress(folder, run, 2)
    opened.project(run)
    lines = [invented_noisy_step(step) for step in range(3)]
    if annealed:
        lines[2] = replace(lines[2], alpha=7.0)
    folder.write_annealed(lines)
    opened.project(run)
    [child] = opened.content()["children"].values()
    assert (("annealing/alpha" in child["metrics"]) and child["metrics"]["annealing/alpha"][-1][2] == 7.0) is annealed
    assert opened.content()["faults"] == []


def test_a_damaged_run_keeps_what_was_shown_of_it(opened: Opened, plan: Plan) -> None:
    run = plan.runs[0]
    finish(opened.ledger, run)
    opened.project(run)
    opened.ledger.store.replace(f"runs/{run.folder}/records.jsonl", b"no JSON\n")
    opened.project(run)
    [child] = opened.content()["children"].values()
    assert child["status"] == "FAILED"
    assert "records.jsonl" in child["tags"]["gga_sweep.reason"]
    assert len(child["metrics"]["val/accuracy"]) == 3


@pytest.mark.parametrize("live", [True, False])
def test_a_run_left_running_is_shown_as_killed_where_no_launch_is_live(opened: Opened, plan: Plan, live: bool) -> None:
    run = plan.runs[0]
    progress(start(opened.ledger, run), run, 1)
    publish_outcome(opened.project(run, live=live), plan.runs, None)
    content = opened.content()
    [child] = content["children"].values()
    assert (child["status"], content["parent"]["status"]) == (("RUNNING", "RUNNING") if live else ("KILLED", "KILLED"))
    assert child["tags"]["gga_sweep.status"] == ("RUNNING" if live else "PREEMPTED")
    assert child["tags"].get("gga_sweep.reason") == (None if live else LEFT_RUNNING)
    assert opened.ledger.run(str(run.folder)).read_state().status is RunStatus.RUNNING  # the ledger stays as it is


def test_a_run_shown_as_killed_runs_again_when_a_launch_takes_it_up(opened: Opened, plan: Plan) -> None:
    run = plan.runs[0]
    folder = start(opened.ledger, run)
    progress(folder, run, 1)
    publish_outcome(opened.project(run, live=False), plan.runs, None)
    [before] = opened.there("run")
    opened.project(run, live=True)
    assert opened.content()["children"][run.cell.arm, run.key]["status"] == "RUNNING"
    assert opened.content()["parent"]["status"] == "RUNNING"
    assert opened.there("run") == [before]


def test_a_run_killed_twice_ends_when_it_was_killed_last(opened: Opened, plan: Plan) -> None:
    run = plan.runs[0]
    folder = start(opened.ledger, run)
    progress(folder, run, 1)
    folder.write_state(RunStatus.PREEMPTED, 0)
    opened.project(run)
    folder.add_timing(1, {"training": 100.0})
    opened.project(run)
    [child] = opened.content()["children"].values()
    assert child["end"] - child["start"] == 102_000


def test_opening_again_writes_nothing(opened: Opened, plan: Plan, store: MemoryStore) -> None:
    for run in plan.runs:
        finish(opened.ledger, run)
    table = invented_table(plan, opened.ledger)
    publish_outcome(opened.project(*plan.runs, live=False), plan.runs, table)
    before = {run_id: dict(run.__dict__) for run_id, run in store.runs.items()}
    publish_outcome(opened.project(*plan.runs, live=False), plan.runs, table)
    assert {run_id: dict(run.__dict__) for run_id, run in store.runs.items()} == before
