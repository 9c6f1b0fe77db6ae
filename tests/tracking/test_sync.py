"""A ledger brought into a store at any time, from Python and by the command."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented_ledger import CONTENTS, START_TIME, finish, invented_table, progress, start
from memory_store import MemoryStore
from stores import content_of, store_content

from gga_sweep import cli
from gga_sweep.errors import SweepOwnedError
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import write_sweep
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan, searched_run
from gga_sweep.tracking.projector import Projector
from gga_sweep.tracking.sync import SyncResult, sync

SERVER = "http://me:secret@host:5000"
OTHER = "http://me:secret@other:5000"
QUICK = {"retry_after": 0.01, "settle": 0.02}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Without the store in a file that other tests need."""
    return tmp_path / "results"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def trained(plan: Plan, ledger: Ledger) -> Ledger:
    """All done but one that failed."""
    for run in plan.runs[1:]:
        finish(ledger, run)
    finish(ledger, plan.runs[0], RunStatus.FAILED, evaluations=1, reason="a disk was full")
    return ledger


@pytest.fixture
def call(plan: Plan, ledger: Ledger, store: MemoryStore) -> Callable[..., SyncResult]:
    def bring(uri: str = SERVER, **changes: Any) -> SyncResult:
        table = invented_table(plan, ledger)
        return sync(plan, ledger, uri, table, **{"timeout": 30.0, "connect": store.connect, **QUICK, **changes})

    return bring


def content(store: MemoryStore, plan: Plan) -> dict[str, Any]:
    return content_of(store.connect(), plan.sweep.folder, volatile=True)


def everything(store: MemoryStore) -> dict[str, Any]:
    return {run_id: dict(run.__dict__) for run_id, run in store.runs.items()}


def test_a_sync_shows_what_a_launch_shows(
    call: Callable[..., SyncResult], plan: Plan, trained: Ledger, store: MemoryStore
) -> None:
    launched = MemoryStore()
    launch = Projector(plan, trained, OTHER, pause=0.0, connect=launched.connect)
    assert launch.close(30, invented_table(plan, trained))
    result = call()
    assert content(store, plan) == content(launched, plan)
    points = sum(
        len(points) for child in content(store, plan)["children"].values() for points in child["metrics"].values()
    )
    assert result == SyncResult(runs=8, new=8, updated=0, points=points)


def test_a_second_sync_changes_nothing(
    call: Callable[..., SyncResult], plan: Plan, trained: Ledger, store: MemoryStore
) -> None:
    call()
    before = everything(store)
    assert call() == SyncResult(runs=8, new=0, updated=0, points=0)
    assert everything(store) == before


def test_a_later_sync_brings_what_is_new(
    call: Callable[..., SyncResult], plan: Plan, ledger: Ledger, store: MemoryStore
) -> None:
    folder = start(ledger, plan.runs[0])
    progress(folder, plan.runs[0], 1)
    call()
    before = sum(len(run.points) for run in store.runs.values() if run.tags["gga_sweep.role"] == "run")
    progress(folder, plan.runs[0], 2)
    finish(ledger, plan.runs[1])
    result = call()
    after = sum(len(run.points) for run in store.runs.values() if run.tags["gga_sweep.role"] == "run")
    assert result == SyncResult(runs=2, new=1, updated=1, points=after - before)


def test_what_nobody_works_on_is_shown_as_killed_and_the_ledger_stays(
    call: Callable[..., SyncResult], plan: Plan, ledger: Ledger, store: MemoryStore
) -> None:
    progress(start(ledger, plan.runs[0]), plan.runs[0], 1)
    before = run_files(ledger)
    call()
    shown = content(store, plan)
    assert [child["status"] for child in shown["children"].values()] == ["KILLED"]
    assert shown["parent"]["status"] == "KILLED"
    assert run_files(ledger) == before


def run_files(ledger: Ledger) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (ledger.folder / "runs").rglob("*") if path.is_file()}


def test_beside_a_live_launch_another_store_shows_what_is_running(
    call: Callable[..., SyncResult], plan: Plan, ledger: Ledger, store: MemoryStore
) -> None:
    launched = MemoryStore()
    with (
        held(ledger.store),
        Projector(plan, ledger, OTHER, require_turn=True, pause=0.0, connect=launched.connect) as launch,
    ):
        progress(start(ledger, plan.runs[0]), plan.runs[0], 1)
        call()
        shown = content(store, plan)
        assert [child["status"] for child in shown["children"].values()] == ["RUNNING"]
        assert shown["parent"]["status"] == "RUNNING"
        assert shown["summaries"]
        finish(ledger, plan.runs[0])
        assert launch.close(30)
    call()
    assert [child["status"] for child in content(store, plan)["children"].values()] == ["FINISHED"]


def test_where_a_live_launch_projects_already_a_sync_is_refused(
    call: Callable[..., SyncResult], plan: Plan, ledger: Ledger, store: MemoryStore
) -> None:
    with Projector(plan, ledger, SERVER, require_turn=True, pause=0.0, connect=store.connect) as launch:
        with pytest.raises(SweepOwnedError, match=r"process \d+ on .* http://\*\*\*@host:5000 already") as refusal:
            call()
        assert "secret" not in str(refusal.value)
        assert launch.close(30)
    assert call().lacking == ""


def test_of_two_syncs_at_once_one_is_refused_and_nothing_stands_twice(
    call: Callable[..., SyncResult], plan: Plan, trained: Ledger, store: MemoryStore
) -> None:
    ended: list[object] = []
    both = threading.Barrier(2)

    def one() -> None:
        both.wait()
        try:
            ended.append(call())
        except SweepOwnedError as error:
            ended.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(isinstance(result, SyncResult) for result in ended)
    assert content(store, plan)["faults"] == []
    assert len(content(store, plan)["children"]) == 8


def test_a_store_that_is_away_is_waited_for(
    call: Callable[..., SyncResult], plan: Plan, trained: Ledger, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    back = time.monotonic() + 0.2

    def connect(uri: str) -> Any:
        if time.monotonic() < back:
            raise ConnectionError(f"no answer from {SERVER}")
        return store.connect()

    assert call(connect=connect).lacking == ""
    assert len(content(store, plan)["children"]) == 8
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.endswith("; it is tried again")
    assert "secret" not in caplog.text


def test_what_could_not_be_shown_in_time_is_told(call: Callable[..., SyncResult], plan: Plan, trained: Ledger) -> None:
    def away(uri: str) -> Any:
        raise ConnectionError(f"no answer from {SERVER}")

    began = time.monotonic()
    result = call(connect=away, timeout=0.2)
    assert time.monotonic() - began < 60
    assert "MLflow at http://***@host:5000 still lacks" in result.lacking
    assert "and 7 more" in result.lacking  # 8 runs, the sweep file and the outcome
    assert call().lacking == ""  # the next one may begin at once


def test_it_is_told_how_much_is_left(call: Callable[..., SyncResult], plan: Plan, trained: Ledger) -> None:
    left: list[int] = []
    call(heard=left.append)
    assert left[-1] == 0
    assert set(left) >= set(range(8))  # one by one; a run may be looked at again at the end
    assert max(left) < 8 + 2  # the runs, the sweep file, the outcome


def test_the_parent_starts_with_the_first_run(
    call: Callable[..., SyncResult], plan: Plan, ledger: Ledger, store: MemoryStore
) -> None:
    for number, run in enumerate(plan.runs[:2]):
        start(ledger, run, START_TIME + 100 - number)
    call()
    [parent] = [run for run in store.runs.values() if run.tags["gga_sweep.role"] == "sweep"]
    assert parent.start_time == int((START_TIME + 99) * 1000)


def test_runs_that_the_plan_does_not_hold_are_counted(
    call: Callable[..., SyncResult], plan: Plan, trained: Ledger
) -> None:
    finish(trained, searched_run(plan.sweep, CONTENTS, {"arm": "ERM", "test_domain": "0", "trial_seed": 0, "lr": 5e-4}))
    assert call().outside == 1


@pytest.fixture
def gga(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], plan: Plan, ledger: Ledger
) -> Callable[..., tuple[object, str, str]]:
    """Calls the console script, on a folder that a launch has begun; gives exit code, output and errors."""
    write_sweep(ledger, plan.sweep, CONTENTS)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["gga-sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_the_command_brings_the_report_too(
    gga: Callable[..., Any], plan: Plan, trained: Ledger, template_store: Path, tmp_path: Path
) -> None:
    new = tmp_path / "elsewhere.db"
    new.write_bytes(template_store.read_bytes())
    uri = f"sqlite:///{new}"
    code, out, _ = gga("sync", trained.folder, "--tracking-uri", uri)
    assert code == 0
    assert out.startswith(f"MLflow at {uri} shows 8 runs: 8 new, 0 updated, ")
    shown = store_content(uri, plan.sweep.folder)
    assert len(shown["children"]) == 8
    assert shown["summaries"]
    assert shown["parent"]["status"] == "FAILED"
    assert {path.name for path in (trained.folder / "mlflow-artifacts").rglob("report.html")} == {"report.html"}
    code, out, _ = gga("sync", trained.folder, "--tracking-uri", uri)
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
    arguments: list[str], named: str, gga: Callable[..., Any], ledger: Ledger
) -> None:
    code, _, err = gga("sync", ledger.folder, *arguments)
    assert code == 2
    assert named in err
    assert ledger.store.list("tracking") == []


def test_a_folder_without_a_sweep_is_bad_input(gga: Callable[..., Any], tmp_path: Path) -> None:
    code, _, err = gga("sync", tmp_path)
    assert code == 2
    assert "must be a sweep's folder" in err


def test_a_server_that_is_not_there_ends_the_command_with_what_is_lacking(
    gga: Callable[..., Any], trained: Ledger
) -> None:
    code, out, err = gga("sync", trained.folder, "--tracking-uri", "http://me:secret@127.0.0.1:9", "--timeout", "1")
    assert code == 1
    assert "MLflow at http://***@127.0.0.1:9 still lacks" in err
    assert "secret" not in out + err


def test_a_refused_sync_is_told_by_the_exit_code(
    gga: Callable[..., Any], plan: Plan, trained: Ledger, store: MemoryStore
) -> None:
    with Projector(plan, trained, SERVER, require_turn=True, pause=0.0, connect=store.connect) as launch:
        code, _, err = gga("sync", trained.folder, "--tracking-uri", SERVER)
        assert launch.close(30)
    assert code == 3
    assert "projects this sweep into MLflow at http://***@host:5000 already" in err
