"""One live launch of a sweep at a time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gga_sweep.errors import SweepOwnedError
from gga_sweep.ledger import owner
from gga_sweep.ledger.owner import owned
from gga_sweep.ledger.store import PosixStore

HERE = socket.gethostname()


@pytest.fixture
def store(tmp_path: Path) -> PosixStore:
    return PosixStore(tmp_path)


def write_owner(store: PosixStore, host: str, pid: int, seen_ago: float) -> None:
    now = time.time()
    content = {"host": host, "pid": pid, "started": now - 1000, "seen": now - seen_ago}
    store.replace("owner.json", json.dumps(content).encode())


@pytest.fixture(scope="module")
def dead_pid() -> int:
    """Of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_live_launch_is_refused_and_leaves_the_first_alone(store: PosixStore) -> None:
    with owned(store):
        first = store.read("owner.json")
        with pytest.raises(SweepOwnedError, match=f"process {os.getpid()} on {HERE}, last seen 0 s ago"), owned(store):
            pytest.fail("the sweep has two owners")
        assert store.read("owner.json") == first


def test_the_owners_file_is_gone_afterwards_however_it_ends(store: PosixStore) -> None:
    with owned(store):
        assert store.read("owner.json") is not None
    assert store.read("owner.json") is None
    with pytest.raises(RuntimeError, match="boom"), owned(store):
        raise RuntimeError("boom")
    assert store.read("owner.json") is None
    with owned(store):  # and so it can be owned again
        pass


def test_a_dead_process_of_this_host_is_taken_over(store: PosixStore, dead_pid: int) -> None:
    write_owner(store, HERE, dead_pid, seen_ago=1)
    with owned(store):
        assert json.loads(store.read("owner.json") or b"")["pid"] == os.getpid()
    assert store.read("owner.json") is None


@pytest.mark.parametrize("host", [HERE, "another-host"])
def test_an_old_heartbeat_is_taken_over(store: PosixStore, host: str) -> None:
    write_owner(store, host, os.getpid(), seen_ago=121)
    with owned(store):
        assert json.loads(store.read("owner.json") or b"")["host"] == HERE


def test_a_young_heartbeat_of_another_host_is_believed(store: PosixStore, dead_pid: int) -> None:
    write_owner(store, "another-host", dead_pid, seen_ago=100)
    with (
        pytest.raises(SweepOwnedError, match=f"process {dead_pid} on another-host, last seen 100 s ago"),
        owned(store),
    ):
        pytest.fail("the sweep has two owners")


def test_an_owners_file_without_content_is_taken_over(store: PosixStore) -> None:
    store.replace("owner.json", b"")
    with owned(store):
        assert json.loads(store.read("owner.json") or b"")["pid"] == os.getpid()


def test_the_heart_beats_while_the_sweep_is_owned(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_HEARTBEAT_SECONDS", 0.01)
    with owned(store):
        first = json.loads(store.read("owner.json") or b"")
        deadline = time.monotonic() + 10
        while (now := json.loads(store.read("owner.json") or b""))["seen"] == first["seen"]:
            assert time.monotonic() < deadline, "no heartbeat"
        assert now == {**first, "seen": now["seen"]}
        assert now["seen"] > first["seen"]
    assert store.read("owner.json") is None
