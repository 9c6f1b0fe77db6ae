"""What a watch shows: a picture on a terminal, a line a look in a pipe, and why it ended."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planned_sweep import planned
from rich.console import Console

from gga_sweep.errors import StorageError
from gga_sweep.ledger.lease import Holder
from gga_sweep.records import RunState, RunStatus
from gga_sweep.report import watch as watching
from gga_sweep.report.progress import SweepProgress
from gga_sweep.report.status import Work
from gga_sweep.report.watch import progress_line, progress_picture, watch
from gga_sweep.report.wording import run_name
from gga_sweep.scheduling.estimate import Estimate, estimate_from
from gga_sweep.spec import Plan
from gga_sweep.spec.counted_work import MeasuredWork, work_of

NOW = 1_800_000_000.0
LIVE = Work(Holder("head", 42, NOW - 7200, NOW - 3, number=1), alive=True)
ENDED = Work(Holder("head", 42, NOW - 7200, NOW - 3, ended=NOW, number=1), alive=False)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Four runs of ERM, then four of an annealed arm; 5 steps each."""
    return planned(tmp_path)


def state(status: RunStatus, age: float = 60, step: int = 4, reason: str | None = None) -> RunState:
    return RunState(status, reason, step, 1, written=NOW - age)


def estimate(plan: Plan, arms: int | None = None) -> Estimate:
    """Runs of the first arms take 100 s, their searches next to nothing."""
    dataset = plan.sweep.dataset
    configs = {run.cell.arm: run.config for run in plan.runs}
    works = [work_of(configs[arm.name], dataset) for arm in plan.sweep.arms[:arms]]
    seconds = {"training": 80.0, "evaluation": 20.0, "search": 1e-9, "diagnostics": 1e-9}
    return estimate_from(dataset, (MeasuredWork(work, seconds) for work in works))


def seen(plan: Plan, *states: RunState, work: Work | None = LIVE) -> SweepProgress:
    """The first runs of the plan are in these states."""
    runs = {run.folder: run for run in plan.runs}
    return SweepProgress(
        plan=plan,
        runs=runs,
        states=dict(zip(runs, states, strict=False)),
        work=work,
        estimate=estimate(plan),
        hosts={name: f"node-{number}" for number, name in enumerate(runs)},
        now=NOW,
    )


def console(terminal: bool = False, width: int = 300) -> Console:
    options: dict[str, Any] = {"force_terminal": True, "color_system": None} if terminal else {}
    return Console(file=io.StringIO(), width=width, markup=False, highlight=False, **options)


def shown(progress: SweepProgress, width: int = 300) -> list[str]:
    screen = console(width=width)
    with screen.capture() as capture:
        screen.print(progress_picture(progress))
    return [" ".join(line.split()) for line in capture.get().splitlines() if line.strip()]


def text_of(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=seconds.append, time=lambda: NOW))
    return seconds


def looks(*found: SweepProgress | Exception) -> Callable[[], SweepProgress]:
    """One after the other."""
    left = list(found)

    def look() -> SweepProgress:
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return look


def test_a_line_counts_and_tells_the_pace_and_the_time_left(plan: Plan) -> None:
    progress = seen(plan, state(RunStatus.DONE), state(RunStatus.DIVERGED, age=5000), state(RunStatus.RUNNING, step=-1))
    moment, line = re.split("(?<=:..)  ", progress_line(progress))
    assert re.fullmatch(r"2027-01-1\d \d\d:\d\d:\d\d", moment)
    assert line == (
        "2 of 8 runs final, 5 queued, 1 running, 1 diverged; 1 run ended in the last hour; "
        "about 10 min 00 s left, 1 at once"
    )


def test_a_launch_younger_than_an_hour_tells_its_pace_by_the_hour(plan: Plan) -> None:
    young = replace(LIVE, holder=replace(LIVE.holder, started=NOW - 90))
    progress = seen(plan, *[state(RunStatus.DONE, age=30)] * 3, work=young)
    assert "3 runs ended in the last 1 min 30 s, 120 an hour" in progress_line(progress)


def test_arms_without_a_done_run_are_named(plan: Plan) -> None:
    progress = replace(seen(plan, state(RunStatus.RUNNING)), estimate=estimate(plan, arms=1))
    guessed = f"at once (no run of {plan.sweep.arms[1].name} is done: scaled from the others)"
    assert guessed in progress_line(progress)


def test_a_picture_tells_counts_launch_failures_and_what_trains(plan: Plan) -> None:
    states = [
        state(RunStatus.DONE),
        state(RunStatus.RUNNING, age=12, step=2),
        state(RunStatus.FAILED, age=600, step=1, reason="RuntimeError: [/told] at\n[bold]"),
        state(RunStatus.OUT_OF_MEMORY, age=65, reason=None),
    ]
    lines = shown(seen(plan, *states))
    assert re.fullmatch(r"demo: status, \d\d:\d\d:\d\d", lines[0])
    assert lines[1] == "1 of 8 runs final, 4 queued, 1 running, 1 failed, 1 out of memory"
    assert lines[3:5] == ["1 run ended in the last hour.", "About 7 min 22 s left, 1 at once."]
    assert lines[5].startswith("A launch is live: process 42 on head, since 2027-01-1")
    arms = [arm.name for arm in plan.sweep.arms]
    assert lines[6:] == [
        "Arm Queued Running Done Failed Out of memory",
        f"{arms[0]} 0 1 1 1 1",
        f"{arms[1]} 4 0 0 0 0",
        "Failures Since Reason",
        f"out of memory 1 min 05 s ago {run_name(plan.runs[3])}",
        f"failed 10 min 00 s ago {run_name(plan.runs[2])}: RuntimeError: [/told] at [bold]",
        "In training Step Node Last update",
        "ERM · test 0 · seed 0 · draw 1 3 / 5 node-1 12 s ago",
    ]


def test_of_many_the_first_are_shown_and_the_rest_counted(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SHOWN_RUNS", 2)
    monkeypatch.setattr(watching, "_SHOWN_FAILURES", 1)
    monkeypatch.setattr(watching, "_SHOWN_ARMS", 1)
    states = [*[state(RunStatus.FAILED)] * 3, state(RunStatus.DONE), *[state(RunStatus.RUNNING)] * 4]
    lines = shown(seen(plan, *states))
    assert "and 2 more runs" in lines
    counted = lines[lines.index("Arm Running Done Failed") + 1 :][:2]
    assert counted == [f"{plan.sweep.arms[1].name} 4 0 0", "1 other arm 0 1 3"]
    assert "Newest of 3 failures Since Reason" in lines
    assert sum(line.startswith("failed ") for line in lines) == 1


def test_what_no_launch_trains_is_not_in_training(plan: Plan) -> None:
    assert not any("In training" in line for line in shown(seen(plan, state(RunStatus.RUNNING), work=ENDED)))


def test_a_terminal_of_80_columns_cuts_no_word(plan: Plan) -> None:
    states = [state(status, reason="a reason of several words " * 5) for status in RunStatus]
    screen = console(width=80)
    with screen.capture() as capture:
        screen.print(progress_picture(seen(plan, *states)))
    assert "\N{HORIZONTAL ELLIPSIS}" not in capture.get()
    assert all(len(line) <= 80 for line in capture.get().splitlines())


def test_a_pipe_gets_a_line_a_look_until_the_launch_has_ended(plan: Plan, slept: Sequence[float]) -> None:
    screen = console()
    watch(looks(seen(plan), seen(plan, state(RunStatus.DONE)), seen(plan, work=ENDED)), 60, screen)
    lines = text_of(screen).splitlines()
    assert [line[21:].partition(",")[0] for line in lines[:3]] == [
        "0 of 8 runs final", "1 of 8 runs final", "0 of 8 runs final"
    ]  # fmt: skip
    assert lines[3].startswith("No launch is live. The last, process 42 on head, ended 20")
    assert len(lines) == 4
    assert slept == [60, 60]


def test_a_watch_ends_with_the_last_run(plan: Plan, slept: Sequence[float]) -> None:
    screen = console()
    watch(looks(seen(plan, *[state(RunStatus.DONE)] * 8)), 60, screen)
    assert text_of(screen).splitlines()[-1] == "All 8 runs are final."
    assert slept == []


def test_a_terminal_gets_a_picture_that_is_replaced_and_stays_at_the_end(plan: Plan, slept: Sequence[float]) -> None:
    screen = console(terminal=True)
    watch(looks(seen(plan, state(RunStatus.RUNNING)), seen(plan, *[state(RunStatus.DONE)] * 8)), 5, screen)
    before, _, after = text_of(screen).rpartition("\x1b[2K")  # the line was cleared
    assert "0 of 8 runs final" in before
    assert "In training" in before
    assert "8 of 8 runs final" in after
    assert after.rstrip().endswith("All 8 runs are final.")
    assert slept == [5]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_storage_that_is_away_for_a_while_ends_no_watch(plan: Plan, terminal: bool, slept: Sequence[float]) -> None:
    screen = console(terminal)
    away = StorageError("the storage cannot read it: gone")
    watch(looks(seen(plan), away, seen(plan, *[state(RunStatus.DONE)] * 8)), 5, screen)
    assert "he storage cannot read it: gone" in text_of(screen)
    assert text_of(screen).endswith("All 8 runs are final.\n")


def test_a_storage_that_cannot_be_read_at_all_is_an_error(plan: Plan) -> None:
    with pytest.raises(StorageError):
        watch(looks(StorageError("gone")), 5, console())


def test_a_live_launch_without_a_run_in_training_says_that_a_worker_starts(plan: Plan) -> None:
    starts = "no run is in training yet: a worker takes up to a minute to start"
    assert starts in progress_line(seen(plan))
    assert starts not in progress_line(seen(plan, state(RunStatus.RUNNING)))
    assert starts not in progress_line(seen(plan, work=ENDED))
