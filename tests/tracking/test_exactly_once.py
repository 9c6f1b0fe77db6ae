"""Whatever happens to a store, a ledger or a launch: in the end the store shows the ledger, once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invented_ledger import (
    GGA_L_ARM,
    START_TIME,
    finish,
    invented_noisy_step,
    invented_plan,
    invented_record,
    progress,
    start,
)
from memory_store import FAULTS, MemoryStore
from stores import store_content
from tracked_sweep import QUICK, TrackedSweep

from gga_sweep.ledger.run_folder import LEFT_RUNNING, RunFolder
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan, PlannedRun
from gga_sweep.tracking import names
from gga_sweep.tracking.experiment import find_or_create_experiment
from gga_sweep.tracking.projector import Projector
from gga_sweep.tracking.sweep_outcome import publish_outcome

IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where syncing a file takes no time

Schedule = list[tuple[int, str]]
"""After so many good requests, that fault; and so on."""
schedules = st.lists(st.tuples(st.integers(0, 8), st.sampled_from(FAULTS)), max_size=20)


def faults_of(schedule: Schedule) -> Iterator[str | None]:
    return chain.from_iterable(chain(repeat(None, good), [fault]) for good, fault in schedule)


def undisturbed(tracked: TrackedSweep) -> dict[str, Any]:
    """What a store shows of the ledger in which no request ever failed."""
    other = TrackedSweep(tracked.plan, MemoryStore())
    with other.projector() as projector:
        assert projector.close(30, other.report)
    return other.content


def projected_alone(tracked: TrackedSweep, run: PlannedRun) -> dict[str, Any]:
    """What an empty store shows of a run, before the outcome of the sweep."""
    other = TrackedSweep(tracked.plan, MemoryStore())
    other.project(run)
    children: dict[str, Any] = other.content["children"]
    return children


# Faults of the store


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules, schedules, st.booleans())
def test_whatever_requests_fail_the_store_ends_as_an_undisturbed_one(
    first: Schedule, second: Schedule, closed: bool
) -> None:
    two_launches_among_faults(first, second, closed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules, schedules, st.booleans())
def test_whatever_requests_fail_the_store_ends_as_an_undisturbed_one_many_times(
    first: Schedule, second: Schedule, closed: bool
) -> None:
    two_launches_among_faults(first, second, closed)


def two_launches_among_faults(first: Schedule, second: Schedule, closed: bool) -> None:
    """One that ends or dies, then another, while the runs train."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        tracked = TrackedSweep(invented_plan(Path(folder), test_domains=["0"]), MemoryStore())
        ledger = tracked.ledger
        done, stopped, failed, diverged = tracked.plan.runs
        with tracked.projector(faults_of(first)) as projector:
            finish(ledger, done)
            projector.wake(done.folder)
            resumed = start(ledger, stopped)
            progress(resumed, stopped, 2)
            projector.wake(resumed.name)
            if closed:
                resumed.write_state(RunStatus.PREEMPTED, 2, "asked to stop")
                projector.close(0.1)
        if not closed:
            resumed.mark(RunStatus.PREEMPTED, LEFT_RUNNING)
        with tracked.projector(faults_of(second)) as projector:
            progress(start(ledger, stopped), stopped, 3)
            projector.wake(resumed.name)
            finish(ledger, stopped)
            finish(ledger, failed, RunStatus.FAILED, evaluations=1, reason="a reason")
            finish(ledger, diverged, RunStatus.DIVERGED, evaluations=2)
            assert projector.close(30, tracked.report)
        tracked.store.settle(everything=True)
        shown = tracked.content
        assert shown["faults"] == []
        assert shown == undisturbed(tracked)
        assert len(shown["children"]) == 4
        assert shown["parent"]["status"] == "FAILED"


def test_the_store_in_memory_shows_what_a_real_one_shows(tracked: TrackedSweep, uri: str) -> None:
    plan, ledger = tracked.plan, tracked.ledger
    tracked.finish(*plan.runs[:-1])
    progress(start(ledger, plan.runs[-1]), plan.runs[-1], 2)
    with Projector(plan, ledger, uri, pace=QUICK) as projector:
        assert projector.close(60, tracked.report)
    assert undisturbed(tracked) == store_content(uri, plan.sweep.folder, volatile=True)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_whose_request_failed_is_deleted_and_logged_anew(fault: str, tracked: TrackedSweep) -> None:
    """At each request in turn, and whatever became of the request."""
    run = tracked.plan.runs[-1]
    tracked.finish(run)
    expected = projected_alone(tracked, run)
    tracked.open()
    good, deleted = 0, 0
    while True:
        projection = tracked.open()
        projection.client = tracked.store.connect(faults=iter([None] * good + [fault]))
        try:
            tracked.project(run, projection=projection)
        except OSError:
            tracked.store.settle(everything=True)
            tracked.project(run, projection=projection)
        else:
            break
        assert tracked.content["children"] == expected
        assert tracked.content["faults"] == []
        deleted = max(deleted, tracked.all_deleted)
        tracked.forget_children()
        good += 1
    assert good == 4  # create, log the inputs, end, log
    assert deleted == 1


def test_an_experiment_that_a_slow_store_created_in_the_meantime_is_used(
    plan: Plan, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_or_create_experiment(store.connect(), plan.sweep.folder)
    monkeypatch.setattr(store, "_search_experiments", lambda **options: [])  # it was not there yet
    assert find_or_create_experiment(store.connect(), plan.sweep.folder) == first
    assert len(store.experiments) == 1


# What an earlier launch left in the store


def twin(store: MemoryStore, run_id: str, **changes: Any) -> str:
    """What a request that was carried out twice leaves: the same run under another id, with nothing in it yet."""
    one = store.runs[run_id]
    later = {names.STATUS, names.ATTEMPT, names.LOGGED, names.REASON}
    tags = {key: value for key, value in one.tags.items() if key not in later}
    other: str = store._create_run(one.experiment_id, one.start_time, tags).info.run_id
    store.runs[other].__dict__.update(changes)
    return other


def test_runs_that_stand_twice_are_logged_anew(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[-1]
    tracked.finish(run)
    assert tracked.project(run).is_complete(run)
    before = tracked.content
    [made] = tracked.ids("run")
    for _ in range(2):
        twin(tracked.store, made)
    assert not tracked.open().is_complete(run)
    tracked.project(run)
    assert len(tracked.ids("run")) == 1
    assert tracked.content == before


def test_of_several_parents_the_oldest_stays_with_all_children(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    runs = tracked.plan.runs
    tracked.project(*runs)
    before = tracked.content
    [parent] = tracked.ids("sweep")
    children = set(tracked.ids("run"))
    start_time = tracked.store.runs[parent].start_time
    older = twin(tracked.store, parent, start_time=start_time - 1)
    twin(tracked.store, parent, start_time=start_time + 1)
    tracked.project(*runs)
    assert tracked.ids("sweep") == [older]
    assert set(tracked.ids("run")) == children
    assert tracked.content == before


def test_children_of_a_deleted_parent_get_the_new_one(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    tracked.finish(run)
    tracked.project(run)
    [parent], children = tracked.ids("sweep"), tracked.ids("run")
    tracked.store.runs[parent].lifecycle_stage = "deleted"
    assert not tracked.open().is_complete(run)
    assert tracked.project(run).parent.run_id != parent
    assert tracked.ids("run") == children
    assert tracked.content["faults"] == []


def test_summaries_that_stand_twice_or_are_cut_off_are_made_anew(tracked: TrackedSweep) -> None:
    tracked.finish_all()
    report = tracked.report
    publish_outcome(tracked.project(*tracked.plan.runs, live=False), tracked.plan.runs, report)
    before, summaries = tracked.content, tracked.ids("summary")
    assert len(summaries) == 6
    for summary in summaries:
        twin(tracked.store, summary)
    tracked.store.runs[summaries[0]].points.pop()
    tracked.store.runs[summaries[1]].status = "RUNNING"
    publish_outcome(tracked.open(live=False), tracked.plan.runs, report)
    assert tracked.content == before
    assert set(summaries[2:]) < set(tracked.ids("summary"))


@pytest.mark.parametrize("finished", [True, False])
def test_opening_again_writes_nothing(finished: bool, tracked: TrackedSweep) -> None:
    runs = tracked.plan.runs
    tracked.finish(*runs[1:])
    if finished:
        tracked.finish(runs[0])
    else:
        progress(start(tracked.ledger, runs[0]), runs[0], 2)
    report = tracked.report
    publish_outcome(tracked.project(*runs, live=False), runs, report)
    before = {run_id: dict(run.__dict__) for run_id, run in tracked.store.runs.items()}
    publish_outcome(tracked.project(*runs, live=False), runs, report)
    assert {run_id: dict(run.__dict__) for run_id, run in tracked.store.runs.items()} == before


@pytest.mark.parametrize("tag", [names.STATUS, names.LOGGED])
def test_a_run_that_a_killed_launch_logged_in_part_is_logged_anew(tag: str, tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[-1]
    tracked.finish(run)
    tracked.project(run)
    before = tracked.content
    child = tracked.child(run)
    child.points = set(list(child.points)[::2])
    child.tags.pop(names.LOGGED)
    child.tags.pop(tag, None)
    tracked.project(run)
    assert tracked.content == before


def test_a_run_that_went_on_unseen_is_logged_anew(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[-1]
    folder = start(tracked.ledger, run)
    progress(folder, run, 1)
    tracked.project(run)
    progress(folder, run, 3)
    tracked.project(run)
    assert [step for step, _, _ in tracked.points(run)["val/accuracy"]] == [0, 2, 4]
    assert tracked.all_deleted == 1


# What the ledger trains again


def test_a_run_that_goes_on_in_one_launch_is_never_logged_anew(tracked: TrackedSweep) -> None:
    run, projection = tracked.plan.runs[-1], tracked.open()
    folder = start(tracked.ledger, run)
    for evaluations in (1, 2, 3):
        progress(folder, run, evaluations)
        tracked.project(run, projection=projection)
    start(tracked.ledger, run)  # another attempt, as after a pause
    tracked.project(run, projection=projection)
    folder = finish(tracked.ledger, run)
    tracked.project(run, projection=projection)
    assert tracked.all_deleted == 0
    assert projection.is_complete(run)
    assert tracked.content["children"] == projected_alone(tracked, run)


def test_a_run_put_back_into_the_queue_is_not_shown_until_it_begins_anew(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[-1]
    folder = finish(tracked.ledger, run, RunStatus.DIVERGED, evaluations=2, reason="the loss is NaN")
    assert tracked.project(run).is_complete(run)
    folder.requeue("`gga-sweep retry`")
    assert not tracked.open().is_complete(run)
    tracked.project(run)
    assert tracked.content["children"] == {}
    progress(start(tracked.ledger, run, START_TIME + 500), run, 1)
    tracked.project(run)
    [child] = tracked.content["children"].values()
    assert child["start"] == int((START_TIME + 500) * 1000)
    assert "gga_sweep.reason" not in child["tags"]


@pytest.mark.parametrize("evaluations", [2, 3])
def test_points_from_before_and_after_a_retry_never_mix(evaluations: int, tracked: TrackedSweep) -> None:
    """The store was away while the run was in the queue."""
    run = tracked.plan.runs[-1]
    folder = finish(tracked.ledger, run)
    tracked.project(run)
    folder.requeue("`gga-sweep retry`")
    second = start(tracked.ledger, run, START_TIME + 500)
    progress(second, run, evaluations)
    second.write_state(RunStatus.DIVERGED, 2)
    assert not tracked.open().is_complete(run)
    tracked.project(run)
    [child] = tracked.content["children"].values()
    assert [step for step, _, _ in child["metrics"]["val/accuracy"]] == [0, 2, 4][:evaluations]
    assert tracked.project(run).is_complete(run)


def test_a_final_run_that_was_trained_again_shows_its_seconds_once(tracked: TrackedSweep) -> None:
    """As after damage: the same start, the same numbers, more seconds."""
    run = tracked.plan.runs[0]
    finish(tracked.ledger, run)
    tracked.project(run)
    finish(tracked.ledger, run)
    assert not tracked.open().is_complete(run)
    tracked.project(run)
    assert tracked.content["faults"] == []
    assert [value for _, value, _ in tracked.points(run)["seconds/training"]] == [3.0]


def change_second_record(folder: RunFolder, run: PlannedRun) -> None:
    records = [invented_record(run, 0), invented_record(run, 2)]
    records[1] = replace(records[1], validation=replace(records[1].validation, batch_loss=0.123))
    folder.write_records(records)


def change_third_line(folder: RunFolder, run: PlannedRun) -> None:
    lines = [invented_noisy_step(step) for step in range(3)]
    folder.write_annealed([*lines[:2], replace(lines[2], alpha=7.0)])


def forget_second_record(folder: RunFolder, run: PlannedRun) -> None:
    folder.write_records([invented_record(run, 0)])


@pytest.mark.parametrize("change", [change_second_record, change_third_line, forget_second_record])
@pytest.mark.parametrize("in_one_launch", [True, False])
def test_lines_trained_again_with_another_result_replace_the_first(
    in_one_launch: bool, change: Callable[[RunFolder, PlannedRun], None], storage: Path, store: MemoryStore
) -> None:
    """As after a checkpoint in another environment: the run is the same, its last bits are not."""
    tracked = TrackedSweep(invented_plan(storage, arms=[GGA_L_ARM], defaults={}), store)
    run = tracked.plan.runs[0]
    folder = start(tracked.ledger, run)
    progress(folder, run, 2)
    projection = tracked.project(run)
    change(folder, run)
    tracked.project(run, projection=projection if in_one_launch else None)
    assert tracked.content["children"] == projected_alone(tracked, run)
    assert tracked.all_deleted == 1


def test_a_longer_plan_changes_tags_alone(tracked: TrackedSweep, storage: Path, store: MemoryStore) -> None:
    run = tracked.plan.runs[0]
    tracked.finish(run)
    tracked.project(run)
    before = tracked.ids("run")
    longer = TrackedSweep(invented_plan(storage, draws=4), store)
    assert longer.open().is_complete(longer.plan.runs[0])
    longer.project(longer.plan.runs[0])
    assert longer.ids("run") == before


# Runs that no launch works on


@pytest.mark.parametrize("live", [True, False])
def test_an_unfinished_run_is_shown_as_killed_where_no_launch_is_live(tracked: TrackedSweep, live: bool) -> None:
    run = tracked.plan.runs[0]
    progress(start(tracked.ledger, run), run, 1)
    publish_outcome(tracked.project(run, live=live), tracked.plan.runs, None)
    content = tracked.content
    [child] = content["children"].values()
    assert (child["status"], content["parent"]["status"]) == (("RUNNING", "RUNNING") if live else ("KILLED", "KILLED"))
    assert child["tags"]["gga_sweep.status"] == ("RUNNING" if live else "PREEMPTED")
    assert child["tags"].get("gga_sweep.reason") == (None if live else LEFT_RUNNING)
    assert tracked.ledger.run(run.folder).read_state().status is RunStatus.RUNNING  # the ledger stays as it is


def test_a_run_shown_as_killed_runs_again_when_a_launch_resumes_it(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    progress(start(tracked.ledger, run), run, 1)
    publish_outcome(tracked.project(run, live=False), tracked.plan.runs, None)
    before = tracked.ids("run")
    tracked.project(run, live=True)
    assert tracked.content["children"][run.cell.arm, run.key]["status"] == "RUNNING"
    assert tracked.content["parent"]["status"] == "RUNNING"
    assert tracked.ids("run") == before


def test_a_run_killed_twice_ends_when_it_was_killed_last(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    folder = start(tracked.ledger, run)
    progress(folder, run, 1)
    folder.write_state(RunStatus.PREEMPTED, 0)
    tracked.project(run)
    folder.add_timing(1, {"training": 100.0})
    tracked.project(run)
    [child] = tracked.content["children"].values()
    assert child["end"] - child["start"] == 102_000


def test_a_damaged_run_is_shown_as_failed(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    folder = start(tracked.ledger, run)
    progress(folder, run, 2)
    projection = tracked.project(run)
    tracked.ledger.store.replace(f"runs/{run.folder}/records.jsonl", b"no JSON\n")
    tracked.project(run, projection=projection)
    [child] = tracked.content["children"].values()
    assert child["status"] == "FAILED"
    assert "records.jsonl" in child["tags"]["gga_sweep.reason"]
    assert child["metrics"] == {}  # none is left that could mix with those of the next attempt
