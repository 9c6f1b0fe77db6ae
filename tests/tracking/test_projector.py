from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented_ledger import CONTENTS, finish, invented_table, progress, start

from gga_sweep.errors import GGASweepError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_reader import StoredRun
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan, PlannedRun, searched_run
from gga_sweep.tracking import projection
from gga_sweep.tracking.descriptions import run_params
from gga_sweep.tracking.mlflow_api import MlflowClient, Run
from gga_sweep.tracking.projector import Projector

QUICK = {"pause": 0.0, "retry_after": 0.01, "settle": 0.02}


class Server:
    """A store that can go away. While it is away, every call of every client raises."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.away = False
        self.opened = 0

    def connect(self, uri: str) -> MlflowClient:
        self.opened += 1
        return _Client(self)


class _Client:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._client = MlflowClient(server.uri)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._server.away:
                logging.getLogger("urllib3.connectionpool").warning("Retrying")
                raise ConnectionError(f"no answer from {SECRET_URI}\nand so on")
            return method(*args, **kwargs)

        return call


SECRET_URI = "http://me:secret@host:5000"


@pytest.fixture
def server(uri: str) -> Server:
    return Server(uri)


@pytest.fixture
def make(plan: Plan, ledger: Ledger, server: Server) -> Callable[..., Projector]:
    def build(**changes: Any) -> Projector:
        return Projector(plan, ledger, SECRET_URI, **{**QUICK, "connect": server.connect, **changes})

    return build


def children(uri: str, role: str = "run") -> dict[tuple[str, str], Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("demo")
    if experiment is None:
        return {}
    runs = client.search_runs([experiment.experiment_id], f"tags.`gga_sweep.role` = '{role}'")
    return {(run.data.tags.get("gga_sweep.arm", ""), run.data.tags.get("gga_sweep.key", "")): run for run in runs}


def place(run: PlannedRun) -> tuple[str, str]:
    return run.cell.arm, str(run.key)


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def test_what_earlier_launches_left_is_projected_at_once(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, uri: str
) -> None:
    finish(ledger, plan.runs[0])
    projector = make()
    eventually(lambda: place(plan.runs[0]) in children(uri))
    assert projector.close(30)


def test_after_a_lull_it_begins_with_the_first_run_that_wakes_it_or_when_closed(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, server: Server, uri: str
) -> None:
    finish(ledger, plan.runs[0])
    closed = make(lull=60.0)
    time.sleep(0.2)
    assert server.opened == 0
    assert closed.close(30)
    assert children(uri).keys() == {place(plan.runs[0])}
    finish(ledger, plan.runs[1])
    finish(ledger, plan.runs[2])
    woken = make(lull=60.0)
    woken.wake(str(plan.runs[2].folder))
    eventually(lambda: children(uri).keys() == {place(run) for run in plan.runs[:3]})
    assert woken.close(30)


def test_a_lull_ends_by_itself_and_an_error_leaves_the_store_alone(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, server: Server, uri: str
) -> None:
    finish(ledger, plan.runs[0])
    with pytest.raises(ZeroDivisionError), make(lull=60.0):
        raise ZeroDivisionError
    assert server.opened == 0
    projector = make(lull=0.1)
    eventually(lambda: place(plan.runs[0]) in children(uri))
    assert projector.close(30)


def test_a_run_is_projected_when_woken_and_again_as_it_grows(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, uri: str
) -> None:
    run = plan.runs[0]
    projector = make()
    folder = start(ledger, run)
    for evaluations in (1, 2, 3):
        progress(folder, run, evaluations)
        projector.wake(folder.name)
        eventually(lambda count=str(evaluations): _tag(uri, run, "records") == count)
    assert _tag(uri, run, "status") == "RUNNING"
    folder.write_state(RunStatus.DONE, 4)
    assert projector.close(30)
    assert _tag(uri, run, "status") == "DONE"


def _tag(uri: str, run: PlannedRun, tag: str) -> str | None:
    child = children(uri).get(place(run))
    return None if child is None else child.data.tags.get(f"gga_sweep.{tag}")


def test_closing_catches_up_with_runs_that_nobody_woke_and_writes_the_outcome(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, uri: str, tmp_path: Path
) -> None:
    projector = make()
    for run in plan.runs:
        finish(ledger, run)
    ledger.store.replace("report.html", b"<p>")
    assert projector.close(30, invented_table(plan, ledger), ["report.html"])
    assert children(uri).keys() == {place(run) for run in plan.runs}
    assert len(children(uri, "summary")) > 0
    (parent,) = children(uri, "sweep").values()
    assert parent.info.status == "FINISHED"
    assert {item.path for item in MlflowClient(uri).list_artifacts(parent.info.run_id)} == {"report.html", "sweep.yaml"}


def test_a_store_that_is_away_delays_and_loses_nothing(
    make: Callable[..., Projector],
    plan: Plan,
    ledger: Ledger,
    server: Server,
    uri: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gga_sweep.tracking")
    server.away = True
    projector = make()
    run = plan.runs[0]
    folder = start(ledger, run)
    progress(folder, run, 1)
    projector.wake(folder.name)
    eventually(lambda: server.opened > 3)
    server.away = False
    eventually(lambda: _tag(uri, run, "records") == "1")
    server.away = True
    progress(folder, run, 3)
    folder.write_state(RunStatus.DONE, 4)
    opened = server.opened
    projector.wake(folder.name)
    eventually(lambda: server.opened > opened + 3)
    server.away = False
    assert projector.close(30)
    assert _tag(uri, run, "records") == "3"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2  # one an outage
    assert all("http://***@host:5000" in text and "ConnectionError: no answer" in text for text in warnings)
    assert "secret" not in caplog.text
    assert "is back" in caplog.text
    logging.getLogger("urllib3.connectionpool").warning("of somebody else")
    assert "of somebody else" in caplog.text
    assert "Retrying" not in caplog.text


def test_closing_gives_up_in_time_and_says_what_is_lacking(
    make: Callable[..., Projector],
    plan: Plan,
    ledger: Ledger,
    server: Server,
    uri: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.away = True
    finish(ledger, plan.runs[0])
    projector = make()
    began = time.monotonic()
    assert not projector.close(0.3)
    assert time.monotonic() - began < 5
    [text] = [record.getMessage() for record in caplog.records if "still lacks" in record.getMessage()]
    assert "the sweep file" in text
    assert str(plan.runs[0].folder) in text
    assert "the outcome of the sweep" in text
    server.away = False
    assert make().close(30)  # the next launch
    assert children(uri).keys() == {place(plan.runs[0])}


def test_an_outcome_of_many_winners_has_as_long_after_each_as_it_had_at_first(
    make: Callable[..., Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines: list[float] = []

    def publish(*args: Any) -> None:
        headway = args[-1]
        for _ in range(3):
            deadlines.append(projector._deadline or 0.0)
            time.sleep(0.01)
            headway()

    monkeypatch.setattr("gga_sweep.tracking.outcome.publish_outcome", publish)
    projector = make()
    assert projector.close(30)
    assert len(deadlines) == 3
    assert deadlines[0] < deadlines[1] < deadlines[2]


def test_one_run_that_cannot_be_projected_does_not_keep_the_others_waiting(
    make: Callable[..., Projector],
    plan: Plan,
    ledger: Ledger,
    uri: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken, good = plan.runs[0], plan.runs[1]
    refused = {**run_params(broken), "x" * 251: "a name that MLflow does not take"}
    monkeypatch.setattr(projection, "run_params", lambda run: refused if run == broken else run_params(run))
    finish(ledger, broken)
    projector = make()
    projector.wake(str(broken.folder))
    finish(ledger, good)
    projector.wake(str(good.folder))
    eventually(lambda: _tag(uri, good, "status") == "DONE")
    assert not projector.close(30)
    assert f"still lacks {broken.folder};" in caplog.text
    assert children(uri)[place(good)].info.status == "FINISHED"


def test_a_second_launch_reads_no_run_that_was_final(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(ledger, plan.runs[0])
    finish(ledger, plan.runs[1], RunStatus.FAILED)
    assert make().close(30)
    read: list[str] = []

    def read_all(self: RunFolder) -> StoredRun:
        read.append(self.name)
        return original(self)

    original = RunFolder.read
    monkeypatch.setattr(RunFolder, "read", read_all)
    assert make().close(30)
    assert set(read) == {plan.runs[1].folder}


def test_a_run_that_no_plan_holds_can_be_added(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, uri: str
) -> None:
    projector = make()
    configuration = {"arm": "ERM", "test_domain": "0", "trial_seed": 0, "lr": 5e-4}
    run = searched_run(plan.sweep, CONTENTS, configuration)
    finish(ledger, run)
    projector.add(run)
    projector.add(run)
    eventually(lambda: _tag(uri, run, "status") == "DONE")
    assert projector.close(30)
    assert children(uri)[place(run)].data.params["lr"] == "0.0005"


def test_waking_never_waits_for_the_store(
    plan: Plan, ledger: Ledger, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def connect(uri: str) -> MlflowClient:
        gate.wait(20)
        return MlflowClient(uri)

    projector = Projector(plan, ledger, uri, connect=connect, **QUICK)
    began = time.monotonic()
    for _ in range(100):
        projector.wake(str(plan.runs[0].folder))
    assert time.monotonic() - began < 1
    gate.set()
    assert projector.close(30)


def test_many_wakes_of_a_run_are_one_projection(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gga_sweep.tracking.projection import Projection

    projected: list[str | None] = []
    original = Projection.project

    def project(self: Projection, run: PlannedRun, stored: Any) -> None:
        projected.append(run.key)
        original(self, run, stored)

    monkeypatch.setattr(Projection, "project", project)
    projector = make(pause=1.0)
    eventually(lambda: children(uri, "sweep"))
    folder = start(ledger, plan.runs[0])
    for _ in range(50):
        projector.wake(folder.name)
    assert projector.close(30)
    assert len(projected) <= 2  # the gathered wakes, and the closing


def test_required_tracking_refuses_to_begin_without_its_store(make: Callable[..., Projector], server: Server) -> None:
    server.away = True
    with pytest.raises(GGASweepError, match=r"required.*http://\*\*\*@host:5000.*no answer") as caught:
        make(require_tracking=True)
    assert "secret" not in str(caught.value)


def test_required_tracking_begins_with_its_store(make: Callable[..., Projector], server: Server) -> None:
    projector = make(require_tracking=True)
    assert server.opened == 1
    assert projector.close(30)


def test_a_default_store_is_made_when_there_is_none(plan: Plan, ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "new" / "mlflow.db"
    finish(ledger, plan.runs[0])
    assert Projector(plan, ledger, f"sqlite:///{path}", **QUICK).close(60)
    assert children(f"sqlite:///{path}").keys() == {place(plan.runs[0])}


def test_a_store_that_cannot_be_made_is_an_outage_and_no_crash(
    plan: Plan, ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    assert not Projector(plan, ledger, uri, **QUICK).close(0.5)
    assert "the sweep goes on" in caplog.text
    with pytest.raises(GGASweepError, match=r"NotADirectoryError|FileExistsError"):
        Projector(plan, ledger, uri, require_tracking=True)
