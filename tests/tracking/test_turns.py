"""Of several processes that project one ledger into one store, one does so at a time."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from invented_ledger import finish
from memory_store import MemoryStore
from stores import content_of

from gga_sweep.errors import GGASweepError, StorageError, SweepOwnedError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.spec import Plan
from gga_sweep.tracking.projector import Projector
from gga_sweep.tracking.sole_writer import SoleWriter

SERVER = "http://me:secret@host:5000"
QUICK = {"pause": 0.0, "retry_after": 0.01, "settle": 0.02}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Without the store in a file that other tests need."""
    return tmp_path


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def make(plan: Plan, ledger: Ledger, store: MemoryStore) -> Callable[..., Projector]:
    def build(uri: str = SERVER, **changes: Any) -> Projector:
        return Projector(plan, ledger, uri, **{**QUICK, "connect": store.connect, **changes})

    return build


@contextmanager
def another_process(ledger: Ledger, uri: str = SERVER) -> Iterator[None]:
    """That projects this ledger there."""
    with writing(ledger, uri) as other:
        other.take()
        yield


@contextmanager
def writing(ledger: Ledger, uri: str = SERVER) -> Iterator[SoleWriter]:
    """Releases it at the end, if it was taken."""
    writer = SoleWriter(ledger.store, uri)
    try:
        yield writer
    finally:
        writer.release()


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def test_a_launch_waits_while_another_projects_and_goes_on_when_it_has_ended(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    finish(ledger, plan.runs[0])
    with another_process(ledger):
        projector = make()
        eventually(lambda: caplog.records)
        time.sleep(0.05)
        assert not store.runs
    assert projector.close(30)
    assert len(content_of(store.connect(), plan.sweep.folder)["children"]) == 1
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"process {os.getpid()} on " in warning
    assert "projects this sweep into MLflow at http://***@host:5000 already" in warning
    assert "the sweep goes on" in warning
    assert "secret" not in caplog.text


def test_a_launch_that_ends_while_another_projects_leaves_it_to_the_other(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, store: MemoryStore
) -> None:
    finish(ledger, plan.runs[0])
    with another_process(ledger):
        assert not make().close(0.2)
    assert not store.runs


def test_required_tracking_does_not_mind_waiting_for_its_turn(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger
) -> None:
    finish(ledger, plan.runs[0])
    with another_process(ledger):
        projector = make(require_tracking=True)
    assert projector.close(30)


def test_who_requires_its_turn_is_refused_at_once(make: Callable[..., Projector], ledger: Ledger) -> None:
    with another_process(ledger), pytest.raises(SweepOwnedError, match="brings it up to date") as refusal:
        make(require_turn=True)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("uri", "same"),
    [
        ("http://host:5000", True),
        ("http://you:other@host:5000/", True),
        ("http://host:5001", False),
        ("https://host:5000", False),
        ("sqlite:////somewhere/mlflow.db", False),
    ],
)
def test_a_store_is_known_by_its_address_whoever_logs_in(uri: str, same: bool, ledger: Ledger) -> None:
    with another_process(ledger), writing(ledger, uri) as writer:
        if same:
            with pytest.raises(SweepOwnedError):
                writer.take()
        else:
            assert writer.take()


def test_nothing_of_a_password_stands_in_the_ledger(ledger: Ledger) -> None:
    with another_process(ledger):
        files = [path for path in ledger.folder.rglob("*") if path.is_file()]
        assert files
        assert not any("secret" in str(path) or b"secret" in path.read_bytes() for path in files)


def test_closing_does_not_wait_for_a_ledger_that_cannot_be_written(
    make: Callable[..., Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No turn can be taken there, and so nothing can be shown."""

    def refuse(self: SoleWriter) -> bool:
        raise StorageError("the storage cannot write tracking: No space left on device")

    monkeypatch.setattr(SoleWriter, "take", refuse)
    projector = make()
    began = time.monotonic()
    assert not projector.close(600)
    assert time.monotonic() - began < 60


def test_the_turn_is_over_when_a_launch_has_closed(make: Callable[..., Projector]) -> None:
    kept = []  # as in a notebook
    for _ in range(3):
        kept.append(make(require_turn=True))
        assert kept[-1].close(30)


def test_the_turn_is_over_when_a_launch_broke_off(make: Callable[..., Projector], ledger: Ledger) -> None:
    kept = make(require_turn=True)
    with pytest.raises(GGASweepError, match="cluster"), kept:
        raise GGASweepError("the cluster was lost")
    with writing(ledger) as next_one:
        eventually(lambda: not owned(next_one))


def owned(writer: SoleWriter) -> bool:
    try:
        writer.take()
    except SweepOwnedError:
        return True
    return False


def test_the_turn_is_over_when_tracking_was_required_and_is_not_there(make: Callable[..., Projector]) -> None:
    def away(uri: str) -> Any:
        raise ConnectionError("nobody there")

    with pytest.raises(GGASweepError, match="tracking is required") as kept:
        make(require_tracking=True, connect=away)
    assert make(require_turn=True).close(30)
    assert kept


def test_who_was_taken_for_dead_stops_writing_and_looks_anew_when_it_is_its_turn_again(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, store: MemoryStore
) -> None:
    opened: list[str] = []

    def connect(uri: str) -> Any:
        opened.append(uri)
        return store.connect()

    projector = make(connect=connect)
    eventually(lambda: content_of(store.connect(), plan.sweep.folder)["parent"])
    [folder] = ledger.store.list("tracking")
    first, second = plan.runs[:2]
    overtake(ledger, f"tracking/{folder}/000002.json", ended=None)
    finish(ledger, first)
    projector.wake(str(first.folder))
    time.sleep(0.1)
    assert not content_of(store.connect(), plan.sweep.folder)["children"]
    overtake(ledger, f"tracking/{folder}/000002.json", ended=0.0)
    eventually(lambda: content_of(store.connect(), plan.sweep.folder)["children"])
    overtake(ledger, f"tracking/{folder}/000004.json", ended=0.0)  # come and gone while there was nothing to do
    finish(ledger, second)
    assert projector.close(30)
    assert len(opened) == 3
    assert len(content_of(store.connect(), plan.sweep.folder)["children"]) == 2


def overtake(ledger: Ledger, path: str, ended: float | None) -> None:
    """Somebody takes a later number, and the one before has had the time to see it: it looks once a second."""
    holder = {"host": "elsewhere", "pid": 1, "started": 0.0, "seen": time.time() + 3600, "ended": ended}
    ledger.store.replace(path, json.dumps(holder).encode())
    time.sleep(1.3)


@pytest.fixture
def quiet_store() -> MemoryStore:
    """A late request is carried out when it is asked for."""
    return MemoryStore(late_seconds=3600)


def test_what_a_dead_driver_asked_for_and_got_late_does_not_stand_twice(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, quiet_store: MemoryStore
) -> None:
    """Its last request is carried out when the next launch has looked already."""
    finish(ledger, plan.runs[0])
    faults = iter([None] * 5 + ["late"])  # the parent
    killed = make(connect=lambda uri: quiet_store.connect(uri, faults), retry_after=3600.0)
    eventually(lambda: quiet_store.late)
    [folder] = ledger.store.list("tracking")
    dead = {"host": "elsewhere", "pid": 1, "started": 0.0, "seen": 0.0, "ended": None}
    ledger.store.replace(f"tracking/{folder}/000001.json", json.dumps(dead).encode())
    left: list[int] = []
    launch = make(connect=lambda uri: quiet_store.connect(), settle=1.0, heard=left.append)
    eventually(lambda: 0 in left)  # it has looked, and shown all there is
    quiet_store.settle(everything=True)
    assert content_of(quiet_store.connect(), plan.sweep.folder)["faults"] == ["2 parents"]
    assert launch.close(30)
    assert content_of(quiet_store.connect(), plan.sweep.folder)["faults"] == []
    with killed:
        pass  # so that its threads end


def test_what_a_launch_gave_up_on_is_looked_at_twice_by_the_next(
    make: Callable[..., Projector], plan: Plan, ledger: Ledger, quiet_store: MemoryStore
) -> None:
    finish(ledger, plan.runs[0])
    faults = iter([None] * 5 + ["late"])
    assert not make(connect=lambda uri: quiet_store.connect(uri, faults), settle=3600.0).close(1)
    left: list[int] = []
    launch = make(connect=lambda uri: quiet_store.connect(), settle=1.0, heard=left.append)
    eventually(lambda: 0 in left)  # it has looked, and shown all there is
    quiet_store.settle(everything=True)
    assert launch.close(30)
    assert content_of(quiet_store.connect(), plan.sweep.folder)["faults"] == []
    began = time.monotonic()
    assert make(connect=lambda uri: quiet_store.connect(), settle=3600.0).close(30)  # now all is settled
    assert time.monotonic() - began < 10
