"""The thread that brings a store up to date, and never holds a launch up."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from invented_ledger import CONTENTS, finish, progress, start
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from tracked_sweep import QUICK, TrackedSweep, eventually

from gga_sweep.errors import GGASweepError, StorageError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.records import RunResult, RunStatus
from gga_sweep.spec import Plan, PlannedRun, searched_run
from gga_sweep.tracking import projection
from gga_sweep.tracking.descriptions import run_params
from gga_sweep.tracking.mlflow_api import MlflowException
from gga_sweep.tracking.projection import Projection
from gga_sweep.tracking.projector import Pace, Projector
from gga_sweep.tracking.sole_writer import SoleWriter
from gga_sweep.tracking.store import UnusableStoreError


def shown(tracked: TrackedSweep) -> dict[str, str]:
    """The status of each run that the store shows, by its key."""
    return {run.tags["gga_sweep.key"]: run.tags.get("gga_sweep.status", "") for run in tracked.runs("run")}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# When it works


def test_runs_of_earlier_launches_are_projected_at_once(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    tracked.finish(run)
    with tracked.projector() as projector:
        eventually(lambda: shown(tracked) == {run.key: "DONE"})
        assert projector.close(30)


def test_a_run_is_projected_when_woken_and_again_as_it_grows(tracked: TrackedSweep) -> None:
    run = tracked.plan.runs[0]
    with tracked.projector() as projector:
        folder = start(tracked.ledger, run)
        for evaluations in (1, 2, 3):
            progress(folder, run, evaluations)
            projector.wake(folder.name)
            eventually(lambda n=evaluations: run.key in shown(tracked) and len(points(tracked, run)) == n)
        assert shown(tracked) == {run.key: "RUNNING"}
        folder.write_state(RunStatus.DONE, 4)
        assert projector.close(30)
    assert shown(tracked) == {run.key: "DONE"}
    assert tracked.all_deleted == 0


def points(tracked: TrackedSweep, run: PlannedRun) -> list[tuple[int, float, int]]:
    return tracked.points(run).get("val/accuracy", [])


def test_after_a_lull_it_begins_with_the_first_wake_or_when_closed(tracked: TrackedSweep) -> None:
    first, second, third = tracked.plan.runs[:3]
    tracked.finish(first)
    with tracked.projector(lull=60.0) as closed:
        time.sleep(0.2)
        assert tracked.store.requests == 0
        assert closed.close(30)
    assert shown(tracked).keys() == {first.key}
    tracked.finish(second, third)
    with tracked.projector(lull=60.0) as woken:
        woken.wake(third.folder)
        eventually(lambda: shown(tracked).keys() == {first.key, second.key, third.key})
        assert woken.close(30)


def test_a_lull_ends_by_itself_and_an_error_leaves_the_store_alone(tracked: TrackedSweep) -> None:
    tracked.finish(tracked.plan.runs[0])
    with pytest.raises(ZeroDivisionError), tracked.projector(lull=60.0):
        raise ZeroDivisionError
    assert tracked.store.requests == 0
    with tracked.projector(lull=0.1) as projector:
        eventually(lambda: shown(tracked))
        assert projector.close(30)


def test_many_wakes_of_a_run_are_one_projection(tracked: TrackedSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    projected: list[str | None] = []
    original = Projection.project

    def project(self: Projection, run: PlannedRun, *read: Any) -> None:
        projected.append(run.key)
        original(self, run, *read)

    monkeypatch.setattr(Projection, "project", project)
    with tracked.projector(pace=Pace(gather=1.0)) as projector:
        eventually(lambda: tracked.runs("sweep"))
        folder = start(tracked.ledger, tracked.plan.runs[0])
        for _ in range(50):
            projector.wake(folder.name)
        assert projector.close(30)
    assert len(projected) <= 2  # the gathered wakes, and the closing


def test_waking_never_waits_for_the_store(tracked: TrackedSweep) -> None:
    gate = threading.Event()

    def connect(uri: str) -> Any:
        gate.wait(20)
        return tracked.store.connect()

    with tracked.projector(connect=connect) as projector:
        began = time.monotonic()
        for _ in range(100):
            projector.wake(str(tracked.plan.runs[0].folder))
        assert time.monotonic() - began < 1
        gate.set()
        assert projector.close(30)


def test_closing_adds_runs_that_nobody_woke_and_the_outcome(tracked: TrackedSweep) -> None:
    with tracked.projector() as projector:
        tracked.finish_all()
        tracked.ledger.store.replace("report.html", b"<p>")
        assert projector.close(30, tracked.report, ["report.html"])
    assert shown(tracked).keys() == {run.key for run in tracked.plan.runs}
    assert len(tracked.runs("summary")) == 6
    [parent] = tracked.runs("sweep")
    assert parent.status == "FINISHED"
    assert tracked.store.artifacts[parent.run_id].keys() == {"report.html", "sweep.yaml"}


def test_pages_are_those_of_the_runs_that_the_store_shows(tracked: TrackedSweep) -> None:
    with tracked.projector() as projector:
        assert projector.pages == {}
        tracked.finish_all()
        assert projector.close(30, tracked.report)
        pages = projector.pages
    experiment = {run.experiment_id for run in tracked.store.runs.values()}.pop()
    expected = {
        run.tags["gga_sweep.folder"]: (
            f"http://host:5000/#/experiments/{experiment}/runs/{run.run_id}?workflowType=machine_learning"
        )
        for run in tracked.runs("run")
    }
    assert pages == expected
    assert len(pages) == len(tracked.plan.runs)


def test_a_second_launch_reads_and_writes_no_run_that_is_complete(
    tracked: TrackedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, failed = tracked.plan.runs[:2]
    tracked.finish(done)
    tracked.finish(failed, status=RunStatus.FAILED)
    with tracked.projector() as projector:
        assert projector.close(30)
    read: list[str] = []

    def read_all(self: RunFolder) -> RunResult:
        read.append(self.name)
        return original(self)

    original = RunFolder.read_result
    monkeypatch.setattr(RunFolder, "read_result", read_all)
    before = tracked.content["children"]
    with tracked.projector() as projector:
        assert projector.close(30)
    assert set(read) == {failed.folder}
    assert projector.changes.points == 0
    assert projector.changes.written == set()
    assert tracked.content["children"] == before


def test_a_run_outside_the_plan_can_be_added(tracked: TrackedSweep) -> None:
    run = searched_run(tracked.plan.sweep, CONTENTS, {"arm": "ERM", "test_domain": "0", "trial_seed": 0, "lr": 5e-4})
    with tracked.projector() as projector:
        finish(tracked.ledger, run)
        projector.add(run)
        projector.add(run)
        eventually(lambda: shown(tracked) == {run.key: "DONE"})
        assert projector.close(30)
    assert tracked.child(run).params["lr"] == "0.0005"


# When the store fails


def test_a_store_that_is_away_delays_and_loses_nothing(tracked: TrackedSweep, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gga_sweep.tracking")
    run, store = tracked.plan.runs[0], tracked.store
    store.away = True
    with tracked.projector() as projector:
        folder = start(tracked.ledger, run)
        progress(folder, run, 1)
        projector.wake(folder.name)
        eventually(lambda: store.requests > 3)
        store.away = False
        eventually(lambda: run.key in shown(tracked) and len(points(tracked, run)) == 1)
        store.away = True
        progress(folder, run, 3)
        folder.write_state(RunStatus.DONE, 4)
        requests = store.requests
        projector.wake(folder.name)
        eventually(lambda: store.requests > requests + 3)
        store.away = False
        assert projector.close(30)
    assert len(points(tracked, run)) == 3
    assert len(warnings(caplog)) == 2  # one an outage
    for warning in warnings(caplog):
        assert "MLflow at http://***@host:5000 cannot be brought up to date: ConnectionError: no answer" in warning
        assert warning.endswith("; trying again")
    assert "secret" not in caplog.text
    assert "is back" in caplog.text


def test_after_a_failed_request_no_other_is_sent_for_a_while(tracked: TrackedSweep) -> None:
    """So that a request that seemed to fail has been carried out, or never will be."""
    tracked.store.away = True
    with tracked.projector(pace=Pace(gather=0.0, retry_after=0.5)):
        eventually(lambda: tracked.store.requests)
        time.sleep(0.3)
        assert tracked.store.requests == 1


def test_closing_gives_up_in_time_and_says_what_is_missing(
    tracked: TrackedSweep, caplog: pytest.LogCaptureFixture
) -> None:
    run = tracked.plan.runs[0]
    tracked.store.away = True
    tracked.finish(run)
    with tracked.projector() as projector:
        began = time.monotonic()
        assert not projector.close(0.3)
        assert time.monotonic() - began < 5
    [text] = [text for text in warnings(caplog) if "still lacks" in text]
    assert "the sweep file" in text
    assert run.folder in text
    assert "the outcome of the sweep" in text
    tracked.store.away = False
    with tracked.projector() as projector:  # the next launch
        assert projector.close(30)
    assert shown(tracked) == {run.key: "DONE"}


def test_closing_waits_as_long_as_the_store_makes_progress(
    tracked: TrackedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large sweep has thousands of winners."""
    deadlines: list[float] = []

    def publish(*args: Any) -> None:
        progressed = args[-1]
        for _ in range(3):
            deadlines.append(projector._deadline or 0.0)
            time.sleep(0.01)
            progressed()

    monkeypatch.setattr("gga_sweep.tracking.sweep_outcome.publish_outcome", publish)
    with tracked.projector() as projector:
        assert projector.close(30)
    assert len(deadlines) == 3
    assert deadlines[0] < deadlines[1] < deadlines[2]


def test_closing_does_not_wait_for_a_ledger_that_cannot_be_written(
    tracked: TrackedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: SoleWriter) -> bool:
        raise StorageError("the storage cannot write tracking: No space left on device")

    monkeypatch.setattr(SoleWriter, "take", refuse)
    with tracked.projector() as projector:
        began = time.monotonic()
        assert not projector.close(600)
        assert time.monotonic() - began < 60


def test_a_run_that_the_store_refuses_does_not_keep_the_others_waiting(
    tracked: TrackedSweep, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = tracked.plan.runs[:2]

    def refuse(run: PlannedRun) -> dict[str, str]:
        if run == broken:
            raise MlflowException("a name that is too long", error_code=INVALID_PARAMETER_VALUE)
        return run_params(run)

    monkeypatch.setattr(projection, "run_params", refuse)
    tracked.finish(broken)
    with tracked.projector() as projector:
        projector.wake(str(broken.folder))
        tracked.finish(good)
        projector.wake(str(good.folder))
        eventually(lambda: shown(tracked).get(str(good.key)) == "DONE")
        assert not projector.close(30)
    assert f"still lacks {broken.folder};" in caplog.text
    assert tracked.child(good).status == "FINISHED"


def test_the_end_of_a_sweep_does_not_wait_for_a_store_that_must_be_repaired(
    tracked: TrackedSweep, caplog: pytest.LogCaptureFixture
) -> None:
    broken = threading.Event()
    broken.set()

    def connect(uri: str) -> Any:
        if broken.is_set():
            raise UnusableStoreError("its schema is 1, this MLflow needs 2: run `mlflow db upgrade URI`")
        return tracked.store.connect()

    tracked.finish(tracked.plan.runs[0])
    began = time.monotonic()
    with tracked.projector(connect=connect, pace=Pace(retry_after=30.0)) as projector:
        eventually(lambda: warnings(caplog))
        assert not projector.close(600)
    assert time.monotonic() - began < 20
    first, last = warnings(caplog)
    assert first.endswith(
        "MLflow at http://***@host:5000 cannot be brought up to date: its schema is 1, this MLflow needs 2: run "
        "`mlflow db upgrade URI` (the sweep file)"
    )
    assert last.endswith("; once that is repaired, launch again")
    broken.clear()
    with tracked.projector(connect=connect) as projector:
        assert projector.close(30)


def test_a_store_that_became_read_only_is_not_waited_for(
    tracked: TrackedSweep, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise MlflowException("(sqlite3.OperationalError) attempt to write a readonly database")

    tracked.finish(tracked.plan.runs[0])
    with tracked.projector(pace=Pace(gather=0.0, retry_after=30.0)) as projector:
        eventually(lambda: tracked.runs("run"))
        monkeypatch.setattr("gga_sweep.tracking.sweep_outcome.publish_outcome", refuse)
        began = time.monotonic()
        assert not projector.close(600)
        assert time.monotonic() - began < 20
    assert "once that is repaired" in warnings(caplog)[-1]


def test_required_tracking_does_not_begin_without_its_store(tracked: TrackedSweep) -> None:
    tracked.store.away = True
    with (
        pytest.raises(GGASweepError, match=r"required.*http://\*\*\*@host:5000.*no answer") as caught,
        tracked.projector(require_tracking=True),
    ):
        pass
    assert "secret" not in str(caught.value)
    tracked.store.away = False
    with tracked.projector(require_tracking=True) as projector:  # nothing holds it from the first
        assert tracked.runs("sweep")
        assert projector.close(30)


def test_a_default_store_is_created(tracked: TrackedSweep, tmp_path: Path) -> None:
    path = tmp_path / "new" / "mlflow.db"
    with Projector(tracked.plan, tracked.ledger, f"sqlite:///{path}", pace=QUICK) as projector:
        assert projector.close(60)
    assert path.exists()


def test_a_store_can_be_created_later_by_the_thread(tracked: TrackedSweep, tmp_path: Path) -> None:
    path = tmp_path / "new" / "mlflow.db"
    settings = {"pace": QUICK, "lull": 60.0, "store_later": True}
    with Projector(tracked.plan, tracked.ledger, f"sqlite:///{path}", **settings) as projector:
        assert not path.exists()
        assert projector.close(60)
    assert path.exists()


def test_a_store_that_cannot_be_created_is_an_outage(
    plan: Plan, ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    with Projector(plan, ledger, uri, pace=QUICK) as projector:
        assert not projector.close(0.5)
    assert "cannot be brought up to date" in caplog.text
    with (
        pytest.raises(GGASweepError, match=r"NotADirectoryError|FileExistsError"),
        Projector(plan, ledger, uri, require_tracking=True),
    ):
        pass
