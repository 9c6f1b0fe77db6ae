"""What `status`, `verify`, `clean` and `retry` print, what their options change, and their exit codes."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gga_sweep.cli.launch_options import as_arguments
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.spec import SweepSpec

if TYPE_CHECKING:  # pytest wants to import it itself
    from console import Command


@pytest.fixture
def ledger(own_copy: Callable[[], SweepSpec]) -> Ledger:
    return Ledger(own_copy().folder)


@dataclass
class Launches:
    """Stands for the launch that follows a retry: stores its arguments."""

    sweep: SweepSpec | None = None
    options: LaunchOptions | None = None

    def __call__(self, sweep: SweepSpec, options: LaunchOptions) -> None:
        self.sweep, self.options = sweep, options


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Launches:
    fake = Launches()
    monkeypatch.setattr("gga_sweep.cli.launching.launch_and_print", fake)
    return fake


def cut(ledger: Ledger, path: str) -> None:
    content = ledger.store.read(path) or b""
    ledger.store.replace(path, content[: len(content) // 2])


# status


def test_status_names_failed_runs(gga: Command, ledger: Ledger) -> None:
    assert gga("status", ledger.folder).words == "digits: status Arm Done ERM 4 GGA 4 No launch is live."
    name = ledger.run_names()[0]
    ledger.run(name).mark(RunStatus.FAILED, "RuntimeError: [/told] to :fail:")
    called = gga("status", ledger.folder)
    assert (called.code, called.err) == (0, "")
    assert f"[{name}] at step 4 of 5: RuntimeError: [/told] to :fail:" in called.words


def test_status_shows_a_live_launch(gga: Command, ledger: Ledger) -> None:
    with held(ledger.store):
        assert "A launch is live: process " in gga("status", ledger.folder).out
    assert " ended 20" in gga("status", ledger.folder).out


def test_watch_of_a_finished_sweep_prints_it_once(gga: Command, ledger: Ledger) -> None:
    called = gga("status", ledger.folder, "--watch")
    assert (called.code, called.err) == (0, "")
    assert called.out.splitlines()[0].endswith("  8 of 8 runs final")
    assert called.out.splitlines()[1:] == ["All 8 runs are final."]


@pytest.mark.parametrize(("options", "seconds"), [((), 60), (("--every", "7"), 7)])
def test_an_interrupt_ends_watch_without_a_message(
    options: tuple[str, ...], seconds: float, gga: Command, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = []

    def interrupted(length: float) -> None:
        slept.append(length)
        raise KeyboardInterrupt

    monkeypatch.setattr("gga_sweep.report.watch.time", SimpleNamespace(sleep=interrupted))
    ledger.run(ledger.run_names()[0]).mark(RunStatus.RUNNING)
    with held(ledger.store):
        called = gga("status", ledger.folder, "--watch", *options)
    assert (called.code, called.err, slept) == (0, "", [seconds])
    assert called.out.count("\n") == 1


def test_every_without_watch_is_bad_input(gga: Command, ledger: Ledger) -> None:
    called = gga("status", ledger.folder, "--every", "7")
    assert called.code == 2
    assert "--every" in called.err


# verify


def test_verify_counts_what_it_checked(gga: Command, trained: SweepSpec) -> None:
    called = gga("verify", trained.folder)
    assert (called.code, called.err) == (0, "")
    assert (
        "Checked 8 runs, 24 evaluations, 4 annealed steps, 8 selected models, 0 averaged models, 0 "
        "checkpoints" in called.out
    )
    assert called.out.endswith("No faults.\n")


def test_verify_prints_each_fault_and_the_command_that_repairs_it(
    gga: Command, ledger: Ledger, launches: Launches
) -> None:
    one, other, preempted = ledger.run_names()[:3]
    cut(ledger, f"runs/{one}/selected")
    cut(ledger, f"runs/{other}/records.jsonl")
    ledger.run(preempted).mark(RunStatus.PREEMPTED, "by a test")
    cut(ledger, f"runs/{preempted}/records.jsonl")
    called = gga("verify", ledger.folder)
    assert called.code == 1
    assert "3 faults:" in called.out
    assert f"  {one}: selected is not what the run left\n" in called.out
    assert f"  {other}: records.jsonl is not what the run left\n" in called.out
    assert called.out.endswith("The next launch repairs 1 run.\n")
    [command] = [line.strip() for line in called.out.splitlines() if line.startswith("  gga-sweep retry ")]
    program, *arguments = shlex.split(command)
    assert program == "gga-sweep"
    assert gga(*arguments).code == 0
    assert {ledger.run(name).read_state().status for name in (one, other)} == {RunStatus.QUEUED}
    left = gga("verify", ledger.folder)
    assert "1 fault:" in left.out
    assert f"  {preempted}: records.jsonl is damaged" in left.out


def test_partly_written_files_are_counted_and_are_no_fault(gga: Command, ledger: Ledger) -> None:
    (ledger.folder / ".new-0123").write_bytes(bytes(3 * 2**20))
    called = gga("verify", ledger.folder)
    assert called.code == 0
    assert "Found 1 partly written file (3.0 MiB)" in called.out


def test_a_damaged_sweep_file_is_a_fault(gga: Command, ledger: Ledger) -> None:
    cut(ledger, "sweep.json")
    called = gga("verify", ledger.folder)
    assert called.code == 1
    assert "1 fault:\n  sweep.json is damaged: " in called.out
    assert "retry" not in called.out


# clean


def test_clean_deletes_only_with_yes(gga: Command, ledger: Ledger) -> None:
    sizes = {path: path.stat().st_size for path in ledger.folder.rglob("selected")}
    called = gga("clean", ledger.folder)
    assert called.code == 0
    mebibytes = f"{4 * next(iter(sizes.values())) / 2**20:.1f}"
    assert f"Not needed Files MiB weights of runs that were not selected 4 {mebibytes} " in called.words
    assert f" total 4 {mebibytes} " in called.words
    assert called.out.endswith(f"Nothing was deleted. To delete: gga-sweep clean {ledger.folder} --yes\n")
    assert len([*ledger.folder.rglob("selected")]) == 8
    called = gga("clean", ledger.folder, "--yes")
    assert called.code == 0
    assert f"Deleted Files MiB weights of runs that were not selected 4 {mebibytes} " in called.words
    assert len([*ledger.folder.rglob("selected")]) == 4
    assert " total 0 0.0" in gga("clean", ledger.folder).words


def test_nothing_is_cleaned_or_retried_during_a_launch(gga: Command, ledger: Ledger, launches: Launches) -> None:
    with held(ledger.store):
        for arguments in (["clean", ledger.folder, "--yes"], ["retry", ledger.folder]):
            called = gga(*arguments)
            assert called.code == 3
            assert "another launch owns this sweep" in called.err
    assert launches.sweep is None


# retry


def test_failed_runs_are_retried_by_default(gga: Command, ledger: Ledger, launches: Launches) -> None:
    failed, lost, diverged = ledger.run_names()[:3]
    ledger.run(failed).mark(RunStatus.FAILED, "by a test")
    ledger.run(lost).mark(RunStatus.OUT_OF_MEMORY, "by a test")
    ledger.run(diverged).mark(RunStatus.DIVERGED, "by a test")
    called = gga("retry", ledger.folder)
    assert (called.code, called.out) == (0, "Requeued, to start at step 0: 2 runs.\n")
    assert launches.sweep is not None
    assert launches.sweep.folder == ledger.folder
    assert launches.options == LaunchOptions()
    assert [ledger.run(name).read_state().status for name in (failed, lost, diverged)] == [
        RunStatus.QUEUED,
        RunStatus.QUEUED,
        RunStatus.DIVERGED,
    ]
    assert gga("retry", ledger.folder, "--diverged").words.endswith("start at step 0: 1 run.")


def test_nothing_to_retry_launches_nothing(gga: Command, ledger: Ledger, launches: Launches) -> None:
    called = gga("retry", ledger.folder, "--failed")
    assert (called.code, called.out) == (0, "Nothing to retry: no run has a matching status.\n")
    assert launches.sweep is None


def test_a_named_run_is_retried_alone(gga: Command, ledger: Ledger, launches: Launches) -> None:
    failed, done = ledger.run_names()[:2]
    ledger.run(failed).mark(RunStatus.FAILED, "by a test")
    assert gga("retry", ledger.folder, done).code == 0
    assert ledger.run(done).read_state().status is RunStatus.QUEUED
    assert ledger.run(failed).read_state().status is RunStatus.FAILED


def test_an_unknown_key_is_bad_input(gga: Command, ledger: Ledger, launches: Launches) -> None:
    called = gga("retry", ledger.folder, "nowhere", "neither")
    assert called.code == 2
    assert "KEY: must name one run of the plan, got 'nowhere'" in called.err
    assert "got 'neither'" in called.err
    assert launches.sweep is None


def test_retry_has_the_options_of_run(gga: Command, ledger: Ledger, launches: Launches) -> None:
    options = LaunchOptions(
        address="auto",
        max_concurrent=3,
        require_tracking=True,
        take_over=True,
        on_error="stop",
        keep_checkpoints="all",
        strict_environment=True,
        unshared=True,
    )
    assert gga("retry", ledger.folder, ledger.run_names()[0], *as_arguments(options)).code == 0
    assert launches.options == options
    assert gga("retry", ledger.folder, "--dashboard").code == 2


def test_a_tracking_uri_is_checked_before_runs_are_discarded(gga: Command, ledger: Ledger, launches: Launches) -> None:
    name = ledger.run_names()[0]
    assert gga("retry", ledger.folder, name, "--tracking-uri", "http://localhost:5000").code == 0
    assert launches.sweep is not None
    assert launches.sweep.tracking_uri == "http://localhost:5000"
    ledger.run(name).mark(RunStatus.DONE)
    assert gga("retry", ledger.folder, name, "--tracking-uri", "htp://localhost").code == 2
    assert ledger.run(name).read_state().status is RunStatus.DONE


def test_a_live_launch_is_taken_over_on_request(
    gga: Command, ledger: Ledger, launches: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gga_sweep.ledger.lease._PATIENCE_SECONDS", 0.0)
    with held(ledger.store) as lease:
        assert gga("retry", ledger.folder, ledger.run_names()[0], "--take-over").code == 0
        assert lease.wait(10)
    assert launches.sweep is not None
