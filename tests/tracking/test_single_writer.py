"""Of several processes that would write one ledger into one store, one does at a time."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from memory_store import MemoryStore
from tracked_sweep import SERVER, TrackedSweep, eventually

from gga_sweep.errors import GGASweepError, SweepOwnedError
from gga_sweep.ledger import lease
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.spec import Plan
from gga_sweep.tracking.projector import Pace
from gga_sweep.tracking.sole_writer import SoleWriter, _digest


@contextmanager
def another_process(ledger: Ledger, uri: str = SERVER) -> Iterator[SoleWriter]:
    """That writes this ledger there."""
    with writing(ledger, uri) as other:
        other.take()
        yield other


@contextmanager
def writing(ledger: Ledger, uri: str = SERVER) -> Iterator[SoleWriter]:
    """Released at the end, if it was taken."""
    writer = SoleWriter(ledger.store, uri)
    try:
        yield writer
    finally:
        writer.release()


def test_a_launch_waits_while_another_process_writes(tracked: TrackedSweep, caplog: pytest.LogCaptureFixture) -> None:
    tracked.finish(tracked.plan.runs[0])
    with another_process(tracked.ledger):
        projector = tracked.projector(require_tracking=True)
        projector.__enter__()
        eventually(lambda: caplog.records)
        time.sleep(0.05)
        assert not tracked.store.runs
    assert projector.close(30)
    assert len(tracked.runs("run")) == 1
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"process {os.getpid()} on " in warning
    assert "already writes this sweep into MLflow at http://***@host:5000" in warning
    assert "secret" not in caplog.text


def test_a_launch_that_ends_while_another_process_writes_leaves_it_to_that(tracked: TrackedSweep) -> None:
    tracked.finish(tracked.plan.runs[0])
    with another_process(tracked.ledger), tracked.projector() as projector:
        assert not projector.close(0.2)
    assert not tracked.store.runs


def test_with_required_ownership_it_is_refused_at_once(tracked: TrackedSweep) -> None:
    with (
        another_process(tracked.ledger),
        pytest.raises(SweepOwnedError, match="brings it up to date") as refusal,
        tracked.projector(require_ownership=True),
    ):
        pass
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
def test_a_store_is_known_by_its_address_whatever_the_login(uri: str, same: bool, ledger: Ledger) -> None:
    with another_process(ledger), writing(ledger, uri) as writer:
        if same:
            with pytest.raises(SweepOwnedError):
                writer.take()
        else:
            assert writer.take()


def test_the_ledger_holds_no_password(ledger: Ledger) -> None:
    with another_process(ledger):
        files = [path for path in ledger.folder.rglob("*") if path.is_file()]
        assert files
        assert not any("secret" in str(path) or b"secret" in path.read_bytes() for path in files)


@pytest.mark.parametrize("ending", ["closed", "broken off", "no store"])
def test_the_right_to_write_ends_with_its_launch(ending: str, tracked: TrackedSweep) -> None:
    """Also while its projector is kept, as in a notebook."""
    tracked.store.away = ending == "no store"
    projector = tracked.projector(require_ownership=True, require_tracking=ending == "no store")
    try:
        with projector:
            if ending == "broken off":
                raise GGASweepError("the cluster was lost")
            assert projector.close(30)
    except GGASweepError:
        assert ending != "closed"
    with writing(tracked.ledger) as next_one:
        eventually(lambda: not owned(next_one))


def owned(writer: SoleWriter) -> bool:
    try:
        writer.take()
    except SweepOwnedError:
        return True
    return False


def test_a_launch_that_was_taken_for_dead_stops_writing_and_reads_the_store_anew(tracked: TrackedSweep) -> None:
    opened: list[str] = []

    def connect(uri: str) -> Any:
        opened.append(uri)
        return tracked.store.connect()

    first, second = tracked.plan.runs[:2]
    with tracked.projector(connect=connect) as projector:
        eventually(lambda: tracked.runs("sweep"))
        [folder] = tracked.ledger.store.list("tracking")
        overtake(tracked.ledger, f"tracking/{folder}/000002.json", ended=None)
        tracked.finish(first)
        projector.wake(first.folder)
        time.sleep(0.1)
        assert not tracked.runs("run")
        overtake(tracked.ledger, f"tracking/{folder}/000002.json", ended=0.0)
        eventually(lambda: tracked.runs("run"))
        overtake(tracked.ledger, f"tracking/{folder}/000004.json", ended=0.0)  # come and gone while this one rested
        tracked.finish(second)
        assert projector.close(30)
    assert len(opened) == 3
    assert len(tracked.runs("run")) == 2


def overtake(ledger: Ledger, path: str, ended: float | None) -> None:
    """Another process takes a later number, and the one before has had the time to see it: it looks once a second."""
    holder = {"host": "elsewhere", "pid": 1, "started": 0.0, "seen": time.time() + 3600, "ended": ended}
    ledger.store.replace(path, json.dumps(holder).encode())
    time.sleep(1.3)


@pytest.mark.parametrize("died", [True, False])
def test_after_a_writer_that_left_requests_behind_the_next_waits_until_they_are_carried_out(
    died: bool, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked = TrackedSweep(plan, MemoryStore(late_seconds=3600))
    tracked.finish(plan.runs[0])
    faults = iter([None] * 4 + ["late"])  # the parent's creation
    with tracked.projector(faults, pace=Pace(0.0, retry_after=3600.0)) as first:
        eventually(lambda: tracked.store.late)
        if died:
            [folder] = tracked.ledger.store.list("tracking")
            monkeypatch.setattr(lease, "DEAD_AFTER_SECONDS", 0.5)
            dead = {"host": "elsewhere", "pid": 1, "started": 0.0, "seen": 0.0, "ended": None}
            tracked.ledger.store.replace(f"tracking/{folder}/000001.json", json.dumps(dead).encode())
        else:
            assert not first.close(0.1)
        with tracked.projector(pace=Pace(0.0, retry_after=1.0)) as second:
            requests = tracked.store.requests
            time.sleep(0.5)
            assert tracked.store.requests == requests
            tracked.store.settle(everything=True)
            assert second.close(30)
    assert tracked.content["faults"] == []
    assert len(tracked.runs("run")) == 1
    with tracked.projector(pace=Pace(0.0, retry_after=3600.0)) as third:  # now nothing is left behind
        assert third.close(30)


def test_each_file_has_a_lease_of_its_own_and_a_server_one_for_all_logins() -> None:
    files = [
        "sqlite:////a@x/mlflow.db",
        "sqlite:////b@x/mlflow.db",
        "sqlite:////a#1/mlflow.db",
        "sqlite:////a#2/mlflow.db",
    ]
    assert len(set(map(_digest, files))) == len(files)
    assert _digest("https://me:secret@host") == _digest("https://host/") == _digest("https://other@host?token=1")
