"""How far a sweep is, from its ledger alone: what is counted, what is estimated, what is read again."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from planned_sweep import planned, write_run

from gga_sweep.ledger.json_codec import dump
from gga_sweep.ledger.lease import LAUNCHES, Holder, held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.store import PosixStore
from gga_sweep.records import RunState, RunStatus
from gga_sweep.report.progress import Watcher
from gga_sweep.spec import Plan

STEPS = 5


class CountingStore(PosixStore):
    """Remembers what was read and listed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read_files: list[str] = []
        self.listed: list[str] = []

    def read(self, path: str) -> bytes | None:
        self.read_files.append(path)
        return super().read(path)

    def list(self, folder: str) -> list[str]:
        self.listed.append(folder)
        return super().list(folder)

    def states_read(self) -> set[str]:
        """Names of the runs whose states were read since the last call."""
        found = {path.split("/")[1] for path in self.read_files if path.endswith("status.json")}
        self.read_files.clear()
        return found


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Four runs of ERM, then four of ERM + GGA."""
    return planned(tmp_path)


@pytest.fixture
def store(plan: Plan) -> CountingStore:
    return CountingStore(plan.sweep.folder)


@pytest.fixture
def ledger(plan: Plan, store: CountingStore) -> Ledger:
    return Ledger(plan.sweep.folder, store)


@pytest.fixture
def watcher(plan: Plan, ledger: Ledger) -> Watcher:
    return Watcher(lambda: plan, ledger)


@pytest.fixture
def launch(ledger: Ledger) -> Iterator[None]:
    """A live one."""
    with held(ledger.store):
        yield


def begin(ledger: Ledger, plan: Plan, number: int, step: int = -1, host: str = "node-1") -> str:
    """A run of the plan is in training."""
    folder = ledger.run(str(plan.runs[number].folder))
    folder.claim({"host": host, "pid": 1, "time": 0.0})
    folder.write_state(RunStatus.RUNNING, step)
    return folder.name


def write_state(ledger: Ledger, name: str, state: RunState) -> None:
    ledger.store.replace(f"runs/{name}/status.json", dump(state).encode())


def test_every_run_is_counted_once(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    write_run(ledger, plan.runs[0])
    write_run(ledger, plan.runs[1], RunStatus.DIVERGED)
    write_run(ledger, plan.runs[2], RunStatus.FAILED)
    begin(ledger, plan, 3)
    progress = watcher.look()
    assert +progress.counts == Counter(
        {
            RunStatus.QUEUED: 4,
            RunStatus.DONE: 1,
            RunStatus.DIVERGED: 1,
            RunStatus.FAILED: 1,
            RunStatus.RUNNING: 1,
        }
    )
    assert progress.final == 2


def test_a_run_that_two_arms_share_is_one(tmp_path: Path) -> None:
    plan = planned(tmp_path, arms=[{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "again"}])
    assert len(plan.runs) == 8
    assert Watcher(lambda: plan, Ledger(plan.sweep.folder)).look().counts.total() == 4


def test_a_final_run_is_read_once_and_the_folder_listed_once_a_look(
    plan: Plan, ledger: Ledger, store: CountingStore, watcher: Watcher
) -> None:
    write_run(ledger, plan.runs[0])
    write_run(ledger, plan.runs[1], RunStatus.FAILED)
    running = begin(ledger, plan, 2)
    names = [str(run.folder) for run in plan.runs]
    store.states_read()
    watcher.look()
    assert store.states_read() == {names[0], names[1], running}
    store.listed.clear()
    watcher.look()
    assert store.states_read() == {names[1], running}
    assert Counter(store.listed) == {"runs": 1, LAUNCHES: 1}
    ledger.run(running).mark(RunStatus.DONE)
    assert watcher.look().final == 2
    store.states_read()
    assert watcher.look().final == 2
    assert store.states_read() == {names[1]}


def test_what_the_second_look_reads_does_not_grow_with_the_finished_runs(
    plan: Plan, ledger: Ledger, store: CountingStore, watcher: Watcher
) -> None:
    for run in plan.runs:
        write_run(ledger, run)
    watcher.look()
    store.read_files.clear()
    watcher.look()
    assert store.read_files == ["sweep.json"]


def test_another_launch_may_have_put_final_runs_back(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    write_run(ledger, plan.runs[0], RunStatus.DIVERGED)
    assert watcher.look().final == 1
    with held(ledger.store):
        ledger.run(str(plan.runs[0].folder)).requeue("by a test")
        assert watcher.look().final == 0


def test_a_sweep_that_was_extended_is_planned_anew(tmp_path: Path) -> None:
    plans = [planned(tmp_path), planned(tmp_path, draws=3)]
    ledger = Ledger(plans[0].sweep.folder)
    ledger.write_sweep({})
    watcher = Watcher(partial(plans.pop, 0), ledger)
    assert len(watcher.look().runs) == 8
    assert len(watcher.look().runs) == 8
    ledger.write_sweep({"longer": True})
    assert len(watcher.look().runs) == 12


def test_runs_outside_the_plan_are_not_read(plan: Plan, ledger: Ledger, store: CountingStore, watcher: Watcher) -> None:
    ledger.run("of-another-plan").claim({})
    assert watcher.look().states == {}
    assert store.states_read() == set()


def test_the_runs_of_the_last_hour_are_counted_or_since_the_launch_began(
    plan: Plan, ledger: Ledger, store: CountingStore
) -> None:
    now = time.time()
    for run, age in zip(plan.runs, (10, 900, 3500, 3700), strict=False):
        write_run(ledger, run)
        write_state(ledger, str(run.folder), RunState(RunStatus.DONE, None, STEPS - 1, 1, written=now - age))
    watcher = Watcher(lambda: plan, ledger, clock=lambda: now)
    for began, lately, ended in ((now - 9000, 3600, 3), (now - 1000, 1000, 2), (now, 1, 0)):
        store.replace(f"{LAUNCHES}/000001.json", dump(Holder("elsewhere", 42, began, now)).encode())
        progress = watcher.look()
        assert (progress.lately, progress.ended_lately) == (pytest.approx(lately), ended)


def test_a_folder_of_an_older_version_does_not_say_when_its_run_ended(
    plan: Plan, ledger: Ledger, watcher: Watcher, launch: None
) -> None:
    write_run(ledger, plan.runs[0])
    state = dump(RunState(RunStatus.DONE, None, STEPS - 1, 1))
    older = state.replace(',"written":0.0', "")
    assert older != state
    ledger.store.replace(f"runs/{plan.runs[0].folder}/status.json", older.encode())
    progress = watcher.look()
    assert (progress.final, progress.ended_lately) == (1, 0)


# the time left. A DONE run of `write_run` took 3 s.


@pytest.mark.usefixtures("launch")
def test_the_time_left_is_of_what_is_left_by_what_trains_at_once(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    write_run(ledger, plan.runs[0])
    write_run(ledger, plan.runs[4])
    assert watcher.look().seconds_left is None  # nothing trains
    begin(ledger, plan, 1)
    assert watcher.look().seconds_left == pytest.approx(6 * 3)
    begin(ledger, plan, 2)
    assert watcher.look().seconds_left == pytest.approx(6 * 3 / 2)
    begin(ledger, plan, 2, step=3)  # four of five steps
    assert watcher.look().seconds_left == pytest.approx((5 * 3 + 0.2 * 3) / 2)
    for number in range(3, 8):
        if number != 4:
            begin(ledger, plan, number)
    assert watcher.look().seconds_left == pytest.approx(3)  # the longest


@pytest.mark.usefixtures("launch")
def test_arms_differ_in_what_a_run_takes(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    for number in (0, 4):
        write_run(ledger, plan.runs[number])
    timings = f"runs/{plan.runs[4].folder}/timings.jsonl"
    ledger.store.replace(timings, b'{"step":4,"attempt":1,"seconds":{"training":7.0,"search":20.0}}\n')
    begin(ledger, plan, 1)
    assert watcher.look().seconds_left == pytest.approx(3 * 3 + 3 * 27)


@pytest.mark.usefixtures("launch")
def test_an_arm_without_a_done_run_counts_as_the_others_and_is_named(
    plan: Plan, ledger: Ledger, watcher: Watcher
) -> None:
    write_run(ledger, plan.runs[0])
    begin(ledger, plan, 1)
    progress = watcher.look()
    assert progress.seconds_left == pytest.approx(7 * 3)
    assert progress.unknown == [plan.runs[-1].cell.arm]


@pytest.mark.usefixtures("launch")
def test_what_failed_in_this_launch_waits_for_the_next_and_what_failed_before_is_tried_again(
    plan: Plan, ledger: Ledger, watcher: Watcher
) -> None:
    write_run(ledger, plan.runs[0])
    begin(ledger, plan, 1)
    name = begin(ledger, plan, 2)
    for written, left in ((time.time() + 1, 6), (time.time() - 1000, 7)):
        write_state(ledger, name, RunState(RunStatus.FAILED, "no luck", -1, 1, written=written))
        assert watcher.look().seconds_left == pytest.approx(left * 3)


def test_what_finished_runs_took_is_asked_of_few_of_an_arm_and_once(
    plan: Plan, ledger: Ledger, store: CountingStore
) -> None:
    for run in plan.runs:
        write_run(ledger, run)
    watcher = Watcher(lambda: plan, ledger, sample=2)
    store.read_files.clear()
    for _ in range(3):
        watcher.look()
    assert sum(path.endswith("timings.jsonl") for path in store.read_files) == 2 * 2


def test_without_a_live_launch_no_time_is_left(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    write_run(ledger, plan.runs[0])
    begin(ledger, plan, 1)
    assert watcher.look().seconds_left is None


# where it trains, what failed, when it is over


def test_the_nodes_of_the_first_runs_in_training_are_asked_once_an_attempt(
    plan: Plan, ledger: Ledger, store: CountingStore
) -> None:
    watcher = Watcher(lambda: plan, ledger, most_hosts=2)
    names = [begin(ledger, plan, number, host=f"node-{number}") for number in range(3)]
    assert watcher.look().hosts == {names[0]: "node-0", names[1]: "node-1"}
    store.read_files.clear()
    watcher.look()
    assert not any("/attempts/" in path for path in store.read_files)
    begin(ledger, plan, 1, host="node-9")
    assert watcher.look().hosts[names[1]] == "node-9"


def test_an_attempt_that_names_no_node_has_none(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    folder = ledger.run(str(plan.runs[0].folder))
    folder.claim({"marked": "by a driver"})
    folder.write_state(RunStatus.RUNNING, 0)
    assert watcher.look().hosts == {folder.name: ""}


def test_the_newest_failures_come_first(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    names = [str(run.folder) for run in plan.runs]
    statuses = (RunStatus.FAILED, RunStatus.OUT_OF_MEMORY, RunStatus.DIVERGED, RunStatus.PREEMPTED, RunStatus.DONE)
    for name, status, written in zip(names, statuses, (20, 40, 30, 50, 60), strict=False):
        ledger.run(name).claim({})
        write_state(ledger, name, RunState(status, "why", 1, 1, written=written))
    assert watcher.look().newest_failures(2) == [names[1], names[2]]
    assert watcher.look().newest_failures(9) == [names[1], names[2], names[0]]


def test_it_is_over_without_a_launch_and_with_the_last_run(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    assert watcher.look().over
    with held(ledger.store):
        assert not watcher.look().over
        for run in plan.runs:
            write_run(ledger, run)
        assert watcher.look().over
    assert math.isclose(watcher.look().lately, 3600)
