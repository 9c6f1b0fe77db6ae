"""Progress of a sweep, from its ledger alone: what is counted, what is estimated, what is read again."""

from __future__ import annotations

import json
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
    statuses = (RunStatus.DONE, RunStatus.DIVERGED, RunStatus.FAILED, RunStatus.RUNNING)
    assert +progress.counts == Counter({RunStatus.QUEUED: 4, **dict.fromkeys(statuses, 1)})
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
    names = [run.folder for run in plan.runs]
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
    for run in plan.runs:
        ledger.run(run.folder).mark(RunStatus.DONE)
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
        write_state(ledger, run.folder, RunState(RunStatus.DONE, None, STEPS - 1, 1, written=now - age))
    watcher = Watcher(lambda: plan, ledger, clock=lambda: now)
    for began, lately, ended in ((now - 9000, 3600, 3), (now - 1000, 1000, 2), (now, 1, 0)):
        store.replace(f"{LAUNCHES}/000001.json", dump(Holder("elsewhere", 42, began, now)).encode())
        progress = watcher.look()
        assert (progress.lately, progress.ended_lately) == (pytest.approx(lately), ended)


# the time left


def finish(ledger: Ledger, plan: Plan, number: int) -> None:
    """A run of the plan is DONE. One of ERM takes 3 s, an annealed one 27 s."""
    run = plan.runs[number]
    write_run(ledger, run)
    seconds = {"training": 2.0, "evaluation": 1.0}
    if run.config.annealing is not None:
        seconds |= {"search": 20.0, "diagnostics": 4.0}
    line = json.dumps({"step": 4, "attempt": 1, "seconds": seconds})
    ledger.store.replace(f"runs/{run.folder}/timings.jsonl", f"{line}\n".encode())


@pytest.mark.usefixtures("launch")
def test_the_time_left_is_of_what_is_left_by_what_trains_at_once(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    finish(ledger, plan, 0)
    finish(ledger, plan, 4)
    assert watcher.look().seconds_left is None  # nothing trains
    begin(ledger, plan, 1)
    assert watcher.look().seconds_left == pytest.approx(3 * 3 + 3 * 27)
    begin(ledger, plan, 2, step=3)  # four of five steps, and one of two evaluations
    assert watcher.look().seconds_left == pytest.approx((2 * 3 + 2 / 5 + 1 / 2 + 3 * 27) / 2)
    for number in (3, 5, 6, 7):
        begin(ledger, plan, number)
    assert watcher.look().seconds_left == pytest.approx(27)  # the longest
    assert watcher.look().unknown == []


@pytest.mark.usefixtures("launch")
def test_an_arm_without_a_done_run_is_scaled_by_its_work_and_named(
    plan: Plan, ledger: Ledger, watcher: Watcher
) -> None:
    finish(ledger, plan, 0)
    begin(ledger, plan, 1)
    progress = watcher.look()
    passes = 251 + 2  # of the annealed step: candidates and diagnostics without dropout, each as a step
    assert progress.seconds_left == pytest.approx(7 * 3 + 4 * passes * 2 / 5)
    assert progress.unknown == [plan.runs[-1].cell.arm]


@pytest.mark.usefixtures("launch")
def test_what_failed_in_this_launch_waits_for_the_next_and_what_failed_before_is_tried_again(
    plan: Plan, ledger: Ledger, watcher: Watcher
) -> None:
    finish(ledger, plan, 0)
    finish(ledger, plan, 4)
    begin(ledger, plan, 1)
    name = begin(ledger, plan, 2)
    for written, left in ((time.time() + 1, 2), (time.time() - 1000, 3)):
        write_state(ledger, name, RunState(RunStatus.FAILED, "no luck", -1, 1, written=written))
        assert watcher.look().seconds_left == pytest.approx(left * 3 + 3 * 27)


def test_seconds_are_read_of_few_finished_runs_of_an_arm_and_once(
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
    finish(ledger, plan, 0)
    begin(ledger, plan, 1)
    assert watcher.look().seconds_left is None


# where it trains, what failed, when it is over


def test_the_nodes_of_the_first_runs_in_training_are_read_once_an_attempt(
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
    folder = ledger.run(str(plan.runs[0].folder))
    folder.claim({"marked": "by a driver"})
    folder.write_state(RunStatus.RUNNING, 0)
    assert watcher.look().hosts[names[0]] == ""


def test_the_newest_failures_come_first(plan: Plan, ledger: Ledger, watcher: Watcher) -> None:
    names = [run.folder for run in plan.runs]
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
