"""Plans and statuses as a terminal shows them, from runs that nobody trained."""

from __future__ import annotations

import io
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from gga_sweep.ledger import lease
from gga_sweep.ledger.json_codec import dump
from gga_sweep.ledger.lease import LAUNCHES, HeartbeatWatch, Holder, ask_to_stop, held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunState, RunStatus
from gga_sweep.report.status import Work, plan_picture, read_states, read_work, status_picture
from gga_sweep.report.wording import run_name
from gga_sweep.spec import Contents, Plan, load, outline_sweep, plan_sweep

CONTENTS = Contents(dataset="0" * 32)


def small_plan(contents: Contents | None = CONTENTS, storage: Path = Path("nowhere"), **fields: Any) -> Any:
    """ERM and an annealed arm, two test domains, two trial seeds, three draws: 24 runs."""
    content = {
        "name": "small",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "GGA", "annealing": {"start_step": 2}}],
        "test_domains": ["0", "75"],
        "trial_seeds": [0, 1],
        "draws": 3,
        "search_space": {"lr": {"loguniform": [1e-4, 1e-2]}},
        "training": {"steps": 200},
        **fields,
    }
    sweep = load(content, storage=storage)
    return outline_sweep(sweep) if contents is None else plan_sweep(sweep, contents)


def lines(picture: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=500)
    with console.capture() as capture:
        console.print(picture)
    return [" ".join(line.split()) for line in capture.get().splitlines() if line.strip()]


def states_of(plan: Plan, *statuses: RunStatus, reason: str | None = None) -> dict[str, RunState]:
    """The first runs are in these states."""
    return {run.folder: RunState(status, reason, step=7) for run, status in zip(plan.runs, statuses, strict=False)}


def test_a_plan_counts_cells_and_runs_by_arm() -> None:
    shown = lines(plan_picture(small_plan(), {}))
    assert shown[:4] == ["small: plan", "Arm Cells Runs Done", "ERM 4 12 0", "GGA 4 12 0"]
    assert "24 runs in 8 cells, 24 distinct training jobs of 200 steps." in shown


def test_equal_runs_of_two_arms_are_one_job_with_and_without_images() -> None:
    arms = [{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "again"}]
    for contents in (CONTENTS, None):
        assert "24 runs in 8 cells, 12 distinct training jobs of 200 steps." in lines(
            plan_picture(small_plan(contents, arms=arms), {})
        )


def test_done_in_a_plan_is_what_no_launch_trains_again() -> None:
    plan = small_plan()
    states = states_of(plan, *RunStatus)
    final = sum(status in (RunStatus.DONE, RunStatus.DIVERGED, RunStatus.STOPPED) for status in RunStatus)
    assert f"ERM 4 12 {final}" in lines(plan_picture(plan, states))


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        ({}, "Each run occupies 1 CPU."),
        ({"cpus": 2, "gpus": 0.5}, "Each run occupies 2 CPU and 0.5 GPU, with 1 data worker."),
        ({"cpus": 8, "workers": 3}, "Each run occupies 8 CPU, with 3 data workers."),
        ({"cpus": 2, "workers": 0}, "Each run occupies 2 CPU."),
        ({"cpus": 0.25}, "Each run occupies 0.25 CPU."),
        ({"gpus": "auto"}, "Each run occupies 1 CPU and the share of a GPU that its memory requires."),
    ],
)
def test_a_plan_names_what_a_run_occupies(resources: Mapping[str, float | str], sentence: str) -> None:
    assert sentence in lines(plan_picture(small_plan(resources=resources), {}))


def test_a_plan_names_its_protocol_and_how_the_file_departs_from_it() -> None:
    shown = lines(plan_picture(small_plan(), {}))
    assert any(line.startswith("Protocol quick: ") for line in shown)
    assert "Deviation: steps is 200 (the protocol's: 300)." in shown


@pytest.mark.parametrize(("root", "named"), [(None, "no dataset.root given"), ("not-there", "not-there")])
def test_a_benchmark_whose_images_are_missing_is_planned_from_what_was_published(root: str | None, named: str) -> None:
    dataset = {"name": "PACS"} if root is None else {"name": "PACS", "root": root}
    shown = lines(plan_picture(small_plan(None, dataset=dataset, test_domains="all"), {}))
    assert "48 runs in 16 cells, 48 distinct training jobs of 200 steps." in shown
    assert named in shown[-1]
    assert "published domains and counts, without keys. `run` and `train` need them." in shown[-1]


def test_images_that_are_there_are_not_mentioned() -> None:
    assert not any("are missing" in line for line in lines(plan_picture(small_plan(), {})))


def test_a_status_counts_by_arm_only_what_there_is() -> None:
    plan = small_plan()
    states = states_of(plan, RunStatus.DONE, RunStatus.DONE, RunStatus.RUNNING, RunStatus.OUT_OF_MEMORY)
    shown = lines(status_picture(plan, states))
    assert shown[:4] == ["small: status", "Arm Queued Running Done Out of memory", "ERM 8 1 2 1", "GGA 12 0 0 0"]


def test_a_sweep_that_was_not_started_is_queued() -> None:
    shown = lines(status_picture(small_plan(), {}))
    assert shown == ["small: status", "Arm Queued", "ERM 12", "GGA 12", "No launch is live."]


def listed(plan: Plan, states: Mapping[str, RunState]) -> list[str]:
    """The lines of runs."""
    shown = lines(status_picture(plan, states))
    return shown[shown.index("No launch is live.") + 1 :]


def test_every_run_that_is_neither_queued_nor_done_is_named_with_its_step_and_reason() -> None:
    plan = small_plan()
    reason = "RuntimeError: [/told] to :fail: at [bold]"  # no mark-up
    named = listed(
        plan, states_of(plan, *(status for status in RunStatus if status is not RunStatus.RUNNING), reason=reason)
    )
    assert len(named) == len(RunStatus) - 3
    assert all(line.endswith(f" at step 7 of 200: {reason}") for line in named)
    assert {re.split(" (?:ERM|GGA) ", line)[0] for line in named} == {
        "failed", "out of memory", "diverged", "preempted", "stopped"
    }  # fmt: skip


def test_failed_runs_are_first_and_running_ones_last() -> None:
    plan = small_plan()
    shown = listed(plan, states_of(plan, *reversed(RunStatus)))[1:]
    order = ["failed", "out of memory", "diverged", "preempted", "stopped", "running"]
    assert [re.split(" (?:ERM|GGA) ", line)[0] for line in shown] == order


def test_a_run_lost_before_its_first_step() -> None:
    plan = small_plan()
    folder = str(plan.runs[0].folder)
    [line] = listed(plan, {folder: RunState(RunStatus.FAILED, "its actor was lost")})
    assert line == f"failed {run_name(plan.runs[0])} [{folder}] before its first step: its actor was lost"


def test_a_run_that_two_arms_share_is_named_once() -> None:
    plan = small_plan(arms=[{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "again"}])
    states = states_of(plan, RunStatus.FAILED)
    assert lines(status_picture(plan, states))[2:4] == ["ERM 11 1", "again 11 1"]
    assert len(listed(plan, states)) == 1


def test_reasons_that_differ_in_numbers_and_run_names_are_one_line() -> None:
    plan = small_plan()
    names = [run.folder for run in plan.runs]
    states = {
        name: RunState(RunStatus.OUT_OF_MEMORY, f"run {name}: tried to allocate {number}.5 MiB", number)
        for number, name in enumerate(names[:12])
    }
    states[names[12]] = RunState(RunStatus.OUT_OF_MEMORY, "the memory of its host was used up", 3)
    assert listed(plan, states) == [
        f"12 out of memory e.g. {run_name(plan.runs[0])} [{names[0]}] at step 0 of 200: run {names[0]}: tried to "
        "allocate 0.5 MiB",
        f"out of memory {run_name(plan.runs[12])} [{names[12]}] at step 3 of 200: the memory of its host was used up",
    ]


def test_a_long_reason_is_cut() -> None:
    plan = small_plan()
    [line] = listed(plan, states_of(plan, RunStatus.FAILED, reason="so long\n" * 1000))
    assert "so long so long" in line
    assert line.endswith("...")
    assert len(line) < 350


def test_of_many_runs_twenty_are_named_and_the_rest_counted() -> None:
    plan = small_plan()
    shown = listed(plan, states_of(plan, *[RunStatus.RUNNING] * 23))[1:]
    assert len(shown) == 20 + 1
    assert shown[-1] == "and 3 more runs"


def test_running_runs_without_a_live_launch_are_counted() -> None:
    plan = small_plan()
    shown = listed(plan, states_of(plan, RunStatus.RUNNING, RunStatus.RUNNING))
    assert shown[0] == "2 runs are marked as running without a live launch; launch again to continue them."
    live = Work(Holder("here", 42, time.time() - 60, time.time()), alive=True)
    assert not any(
        "marked as running" in line for line in lines(status_picture(plan, states_of(plan, RunStatus.RUNNING), live))
    )


def test_a_live_launch_is_named_with_its_stop_request(tmp_path: Path) -> None:
    plan = small_plan(storage=tmp_path)
    ledger = Ledger(plan.sweep.folder)
    with held(ledger.store) as lease:
        [line] = listed_work(plan, ledger)
        assert line.startswith(f"A launch is live: process {os.getpid()} on {socket.gethostname()}, since 20")
        assert line.endswith(" s ago.")
        ask_to_stop(ledger.store, LAUNCHES, lease.number, "stopped by a test")
        assert listed_work(plan, ledger)[0].endswith(" s ago. Stop requested: stopped by a test.")
    [line] = listed_work(plan, ledger)
    assert line.startswith(f"No launch is live. The last, process {os.getpid()} on {socket.gethostname()}, ended 20")
    assert line.endswith(" Stop requested: stopped by a test.")


def test_a_killed_launch_is_reported_as_lost(tmp_path: Path) -> None:
    plan = small_plan(storage=tmp_path)
    ledger = Ledger(plan.sweep.folder)
    here, pid = socket.gethostname(), 2**22 + 1  # more than Linux gives
    holder = Holder(here, pid, time.time() - 9000, time.time() - 8000, number=1)
    ledger.store.replace(f"{LAUNCHES}/000001.json", dump(holder).encode())
    [line] = listed_work(plan, ledger)
    assert line.startswith(f"No launch is live. The last, process {pid} on {here}, was lost: last seen 20")
    ledger.store.replace(f"{LAUNCHES}/000001.json", b"{")
    assert listed_work(plan, ledger) == ["No launch is live."]


def test_launch_on_another_machine_is_judged_by_its_heartbeat_and_not_by_two_clocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(storage=tmp_path)
    ledger = Ledger(plan.sweep.folder)

    def beat(seen: float) -> None:
        holder = Holder("elsewhere", 42, 1000.0, seen, number=1)
        ledger.store.replace(f"{LAUNCHES}/000001.json", dump(holder).encode())

    states = states_of(plan, RunStatus.RUNNING)
    for seen in (2000.0, time.time(), time.time() + 6000):
        beat(seen)
        line = " ".join(lines(status_picture(plan, states, read_work(ledger))))
        assert "A launch has not ended: process 42 on elsewhere" in line
        assert "(its clock). `gga-sweep status --watch` shows whether it is live." in line
        assert "marked as running" not in line
    watch = HeartbeatWatch(ledger.store, LAUNCHES)
    read_work(ledger, watch)
    beat(seen + 10)
    work = read_work(ledger, watch)
    assert work is not None
    assert work.alive
    monkeypatch.setattr(lease, "DEAD_AFTER_SECONDS", 0.0)
    lost = read_work(ledger, watch)
    assert lost is not None
    assert lost.alive is False


def listed_work(plan: Plan, ledger: Ledger) -> list[str]:
    """The lines below the counts of a sweep without runs."""
    return lines(status_picture(plan, {}, read_work(ledger)))[4:]


def test_runs_that_went_on_in_another_environment_are_counted_and_one_is_named() -> None:
    plan = small_plan()
    names = [run.folder for run in plan.runs]
    changed = RunState(RunStatus.DONE, None, 199, environments=("from step 50: torch 2.8 -> 2.9",))
    one = lines(status_picture(plan, {names[0]: changed, names[1]: RunState(RunStatus.DONE, None, 199)}))[-1]
    assert one == f"1 run resumed in another environment: {run_name(plan.runs[0])} from step 50: torch 2.8 -> 2.9."
    two = lines(status_picture(plan, dict.fromkeys(names[:2], changed)))[-1]
    assert two.startswith(f"2 runs resumed in another environment: e.g. {run_name(plan.runs[0])} from step 50")


def test_a_terminal_of_80_columns_cuts_no_word() -> None:
    plan = small_plan()
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture:
        console.print(status_picture(plan, states_of(plan, *RunStatus, reason="a reason of several words " * 5)))
    assert "\N{HORIZONTAL ELLIPSIS}" not in capture.get()
    assert all(len(line) <= 80 for line in capture.get().splitlines())


def test_states_are_read_of_the_runs_that_were_started(tmp_path: Path) -> None:
    plan = small_plan(storage=tmp_path)
    ledger = Ledger(plan.sweep.folder)
    begun = ledger.run(str(plan.runs[3].folder))
    begun.claim({})
    begun.write_state(RunStatus.RUNNING, 4)
    ledger.run("of-another-plan").claim({})
    assert read_states(plan, ledger) == {begun.name: RunState(RunStatus.RUNNING, None, 4, 1)}
