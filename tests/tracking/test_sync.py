"""A ledger shown in a store at any time, from Python and by the command."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from empty_plots import leave_plots_empty
from invented_ledger import CONTENTS, progress, start
from memory_store import MemoryStore
from stores import store_content
from tracked_sweep import QUICK, SERVER, TrackedSweep

from gga_sweep import cli
from gga_sweep.errors import SweepOwnedError
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.stored_sweep import write_sweep
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan, searched_run
from gga_sweep.tracking.sync import SyncResult, sync

OTHER = "http://me:secret@other:5000"


@pytest.fixture
def trained(tracked: TrackedSweep) -> TrackedSweep:
    """All done but one that failed."""
    tracked.finish(*tracked.plan.runs[1:])
    tracked.finish(tracked.plan.runs[0], status=RunStatus.FAILED)
    return tracked


def sync_of(tracked: TrackedSweep, uri: str = SERVER, **changes: Any) -> SyncResult:
    options = {"timeout": 30.0, "connect": lambda uri: tracked.store.connect(), "pace": QUICK, **changes}
    return sync(tracked.plan, tracked.ledger, uri, tracked.report, **options)


def all_points(tracked: TrackedSweep) -> int:
    return sum(len(run.points) for run in tracked.runs("run"))


def test_a_sync_shows_what_a_launch_shows(trained: TrackedSweep) -> None:
    launched = TrackedSweep(trained.plan, MemoryStore())
    with launched.projector(uri=OTHER) as projector:
        assert projector.close(30, launched.report)
    assert sync_of(trained) == SyncResult(runs=8, new=8, updated=0, points=all_points(trained))
    assert trained.content == launched.content


def test_a_second_sync_changes_nothing(trained: TrackedSweep) -> None:
    sync_of(trained)
    before = {run_id: dict(run.__dict__) for run_id, run in trained.store.runs.items()}
    assert sync_of(trained) == SyncResult(runs=8, new=0, updated=0, points=0)
    assert {run_id: dict(run.__dict__) for run_id, run in trained.store.runs.items()} == before


def test_a_later_sync_adds_what_is_new(tracked: TrackedSweep) -> None:
    first, second = tracked.plan.runs[:2]
    folder = start(tracked.ledger, first)
    progress(folder, first, 1)
    sync_of(tracked)
    progress(folder, first, 2)
    tracked.finish(second)
    assert sync_of(tracked) == SyncResult(runs=2, new=1, updated=1, points=all_points(tracked))
    assert tracked.content["faults"] == []


def test_beside_a_live_launch_another_store_shows_what_is_running(tracked: TrackedSweep) -> None:
    run, launched = tracked.plan.runs[0], TrackedSweep(tracked.plan, MemoryStore())
    with held(tracked.ledger.store), launched.projector(uri=OTHER, require_ownership=True) as projector:
        progress(start(tracked.ledger, run), run, 1)
        sync_of(tracked)
        assert [shown.status for shown in (*tracked.runs("run"), *tracked.runs("sweep"))] == ["RUNNING", "RUNNING"]
        assert tracked.runs("summary")
        tracked.finish(run)
        assert projector.close(30)
    sync_of(tracked)
    assert tracked.child(run).status == "FINISHED"


def test_of_two_syncs_at_once_one_is_refused_and_nothing_stands_twice(trained: TrackedSweep) -> None:
    ended: list[object] = []
    both = threading.Barrier(2)

    def one() -> None:
        both.wait()
        try:
            ended.append(sync_of(trained))
        except SweepOwnedError as error:
            ended.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(isinstance(result, SyncResult) for result in ended)
    assert trained.content["faults"] == []
    assert len(trained.runs("run")) == 8


def test_what_could_not_be_shown_in_time_is_named(trained: TrackedSweep) -> None:
    trained.store.away = True
    began = time.monotonic()
    result = sync_of(trained, timeout=0.2)
    assert time.monotonic() - began < 60
    assert "MLflow at http://***@host:5000 still lacks" in result.missing
    assert "and 7 more" in result.missing  # 8 runs, the sweep file and the outcome
    trained.store.away = False
    assert sync_of(trained).missing == ""


def test_progress_counts_down_to_zero(trained: TrackedSweep) -> None:
    left: list[int] = []
    sync_of(trained, on_progress=left.append)
    assert left[-1] == 0
    assert set(left) >= set(range(8))  # one by one; a run may be looked at again at the end
    assert max(left) < 8 + 2  # the runs, the sweep file, the outcome


def test_runs_outside_the_plan_are_counted(trained: TrackedSweep) -> None:
    configuration = {"arm": "ERM", "test_domain": "0", "trial_seed": 0, "lr": 5e-4}
    trained.finish(searched_run(trained.plan.sweep, CONTENTS, configuration))
    assert sync_of(trained).outside == 1


# The command


@pytest.fixture
def gga(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trained: TrackedSweep
) -> Callable[..., tuple[object, str, str]]:
    """Calls the console script, on a folder that a launch has begun; returns exit code, output and errors."""
    write_sweep(trained.ledger, trained.plan.sweep, CONTENTS)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["gga-sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_the_command_attaches_the_report_too(
    gga: Callable[..., Any], plan: Plan, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_plots_empty(monkeypatch)
    folder = plan.sweep.folder
    code, out, _ = gga("sync", folder, "--tracking-uri", uri)
    assert code == 0
    assert out.startswith(f"MLflow at {uri} shows 8 runs: 8 new, 0 updated, ")
    shown = store_content(uri, Path(str(folder)))
    assert len(shown["children"]) == 8
    assert shown["summaries"]
    assert shown["parent"]["status"] == "FAILED"
    artifacts = Path(str(folder)) / "mlflow-artifacts"
    names = {path.name for path in artifacts.rglob("*")}
    assert {"report.html", "sweep.yaml", "selected.safetensors", "run.json"} <= names
    code, out, _ = gga("sync", folder, "--tracking-uri", uri)
    assert code == 0
    assert "8 runs: 0 new, 0 updated, 0 points written" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--tracking-uri", "nonsense"], "--tracking-uri"),
        (["--timeout", "0"], "--timeout"),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(
    arguments: list[str], named: str, gga: Callable[..., Any], trained: TrackedSweep
) -> None:
    code, _, err = gga("sync", trained.ledger.folder, *arguments)
    assert code == 2
    assert named in err
    assert trained.ledger.store.list("tracking") == []


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_done(
    gga: Callable[..., Any], trained: TrackedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("gga_sweep.execution.prepare.tempfile.TemporaryFile", refuse)
    code, _, err = gga("sync", trained.ledger.folder, "--tracking-uri", SERVER)
    assert code == 2
    assert "DIR: must be writable, as it holds MLflow's artifacts" in err
    assert f"sync a copy of it, got '{trained.ledger.folder}'" in err
    assert trained.ledger.store.list("tracking") == []


def test_a_folder_without_a_sweep_is_bad_input(gga: Callable[..., Any], tmp_path: Path) -> None:
    code, _, err = gga("sync", tmp_path / "nothing")
    assert code == 2
    assert "must be a sweep's folder" in err


def test_a_server_that_is_away_ends_the_command_with_what_is_missing(
    gga: Callable[..., Any], trained: TrackedSweep
) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    code, out, err = gga("sync", trained.ledger.folder, "--tracking-uri", uri, "--timeout", "1")
    assert code == 1
    assert "MLflow at http://***@127.0.0.1:9 still lacks" in err
    assert "secret" not in out + err


def test_a_refused_sync_has_an_exit_code_of_its_own(gga: Callable[..., Any], trained: TrackedSweep) -> None:
    with trained.projector(require_ownership=True) as projector:
        code, _, err = gga("sync", trained.ledger.folder, "--tracking-uri", SERVER)
        assert projector.close(30)
    assert code == 3
    assert "already writes this sweep into MLflow at http://***@host:5000" in err
