"""One live worker of a kind at a time: the newest."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gga_sweep.errors import StorageError, SweepOwnedError
from gga_sweep.ledger import lease
from gga_sweep.ledger.lease import (
    LAUNCHES,
    HeartbeatWatch,
    Lease,
    StopNotice,
    ask_to_stop,
    held,
    live_holder,
    newest_holder,
    reason_to_stop,
    wait_for_end,
)
from gga_sweep.ledger.process import birth_of
from gga_sweep.ledger.store import PosixStore

HERE = socket.gethostname()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PosixStore:
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.01)
    return PosixStore(tmp_path)


def write_holder(store: PosixStore, host: str, pid: int, seen_ago: float, number: int = 1) -> None:
    now = time.time()
    content = {"host": host, "pid": pid, "started": now - 1000, "seen": now - seen_ago}
    store.replace(f"{LAUNCHES}/{number:06d}.json", json.dumps(content).encode())


def wait_until_asked(taken: Lease) -> str:
    assert taken.wait(10), "the holder did not stop"
    return str(taken.reason)


@pytest.fixture(scope="module")
def dead_pid() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture(scope="module")
def zombie() -> Iterator[int]:
    """The id of a process that has ended, and whose parent has not waited for it."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.wait()


def test_second_live_worker_is_refused(store: PosixStore) -> None:
    with held(store) as first:
        before = store.read("launches/000001.json")
        with pytest.raises(SweepOwnedError, match=f"process {os.getpid()} on {HERE};"), held(store):
            pytest.fail("the sweep has two owners")
        assert store.read("launches/000001.json") == before
        assert first.reason is None


def test_another_kind_of_work_has_its_own_lease(store: PosixStore) -> None:
    with held(store), held(store, "tracking") as other:
        assert other.number == 1


def test_end_is_written_after_success_and_error(store: PosixStore) -> None:
    with held(store):
        assert live_holder(store, LAUNCHES) is not None
    assert live_holder(store, LAUNCHES) is None
    with pytest.raises(RuntimeError, match="boom"), held(store):
        raise RuntimeError("boom")
    ended = newest_holder(store, LAUNCHES)
    assert ended is not None
    assert ended.number == 2
    assert ended.ended is not None
    assert ended.started <= ended.ended


@pytest.mark.parametrize(
    ("process", "host", "seen_ago"),
    [
        ("dead_pid", HERE, 1),
        ("zombie", HERE, 1),
        ("this process", HERE, 1),  # in a restarted container, a process may get the id of an earlier one
        ("this process", HERE, 121),
        ("dead_pid", HERE, -600),
    ],
)
def test_holder_that_is_gone_is_followed(
    store: PosixStore, request: pytest.FixtureRequest, process: str, host: str, seen_ago: float
) -> None:
    pid = os.getpid() if process == "this process" else request.getfixturevalue(process)
    write_holder(store, host, pid, seen_ago)
    with held(store) as taken:
        assert taken.number == 2


def test_lease_whose_end_could_not_be_written_is_followed(store: PosixStore) -> None:
    with held(store):
        before = store.read(f"{LAUNCHES}/000001.json")
    store.replace(f"{LAUNCHES}/000001.json", before or b"")
    with held(store) as taken:
        assert taken.number == 2


def test_process_with_the_id_of_a_dead_holder_is_not_the_holder(store: PosixStore) -> None:
    """Ids are given again; the start of a process is not."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        now = {"host": HERE, "pid": other.pid, "started": 1.0, "seen": 2.0}
        machine = (birth_of(os.getpid()) or "").rpartition("/")[0]
        for birth, lives in ((birth_of(other.pid), True), (f"{machine}/1", False)):
            store.replace(f"{LAUNCHES}/000001.json", json.dumps({**now, "birth": birth}).encode())
            assert (live_holder(store, LAUNCHES) is not None) == lives
    finally:
        other.communicate()


AHEAD = (-36_000, -600, 0, 100, 600, 36_000)
"""Seconds by which the heartbeat of a worker is older than the clock of this machine."""


@pytest.fixture
def short_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat counts as lost after 0.3 s of watching."""
    monkeypatch.setattr(lease, "DEAD_AFTER_SECONDS", 0.3)


@pytest.mark.usefixtures("short_watch")
@pytest.mark.parametrize("seen_ago", AHEAD)
def test_holder_on_another_host_is_followed_once_its_heartbeat_has_not_changed_for_long(
    store: PosixStore, seen_ago: float, caplog: pytest.LogCaptureFixture
) -> None:
    write_holder(store, "another-host", 42, seen_ago)
    began = time.monotonic()
    with held(store) as taken:
        assert taken.number == 2
    assert time.monotonic() - began >= 0.3
    assert [record.message for record in caplog.records] == [
        "process 42 on another-host has not ended: its heartbeat is watched, for 0 s at most"
    ]


@pytest.mark.parametrize("seen_ago", AHEAD)
def test_holder_on_another_host_is_live_once_its_heartbeat_changes(store: PosixStore, seen_ago: float) -> None:
    write_holder(store, "another-host", 42, seen_ago)
    beat = threading.Timer(0.1, write_holder, (store, "another-host", 42, seen_ago - 10))
    beat.start()
    with pytest.raises(SweepOwnedError, match="process 42 on another-host;"), held(store):
        pytest.fail("the sweep has two owners")
    beat.join()


@pytest.mark.parametrize("pid", [-1, 0, 2**70])
def test_damaged_process_id_is_of_no_process(store: PosixStore, pid: int) -> None:
    write_holder(store, HERE, pid, seen_ago=0)
    assert live_holder(store, LAUNCHES) is None


@pytest.mark.parametrize("birth", ["another boot/pid:[1]/77", f"{'0' * 36}/pid:[4026531836]/77"])
def test_machine_of_the_same_name_is_another_machine(store: PosixStore, dead_pid: int, birth: str) -> None:
    """Cloned machines, and containers whose names were given."""
    holder = {"host": HERE, "pid": dead_pid, "started": 1.0, "seen": 2.0, "birth": birth}
    store.replace(f"{LAUNCHES}/000001.json", json.dumps(holder).encode())
    found = newest_holder(store, LAUNCHES)
    assert found is not None
    assert not found.is_gone
    assert not found.is_here


@pytest.mark.usefixtures("short_watch")
def test_caller_that_tries_again_does_not_wait(store: PosixStore) -> None:
    write_holder(store, "another-host", 42, seen_ago=0)
    watch, tries = HeartbeatWatch(store, LAUNCHES), 0
    deadline = time.monotonic() + 10
    while True:
        try:
            with held(store, watch=watch) as taken:
                assert taken.number == 2
                break
        except SweepOwnedError:
            tries += 1
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert tries > 3


def test_watch_begins_anew_with_each_heartbeat_and_each_holder(
    store: PosixStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: now[0])
    watch = HeartbeatWatch(store, LAUNCHES)
    for number, seen_ago, beaten in ((1, 50, False), (1, 40, True), (2, 40, False), (2, 900, True)):
        write_holder(store, "another-host", 42, seen_ago, number)
        for _ in range(2):
            assert watch.live_holder() is not None
            assert watch.has_beaten == beaten
            now[0] += 70
    assert watch.live_holder() is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"host":1}'])
def test_damaged_file_counts_as_dead(store: PosixStore, content: bytes) -> None:
    store.replace("launches/000007.json", content)
    store.replace("launches/notes.txt", b"whatever lies here")
    with held(store) as taken:
        assert taken.number == 8


def test_heartbeat_is_written_while_the_lease_is_held(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_HEARTBEAT_SECONDS", 0.01)
    with held(store):
        first = json.loads(store.read("launches/000001.json") or b"")
        deadline = time.monotonic() + 10
        while (now := json.loads(store.read("launches/000001.json") or b""))["seen"] == first["seen"]:
            assert time.monotonic() < deadline, "no heartbeat"
        assert now == {**first, "seen": now["seen"]}
        assert now["seen"] > first["seen"]


def test_only_one_of_many_concurrent_workers_wins(store: PosixStore, dead_pid: int) -> None:
    write_holder(store, HERE, dead_pid, seen_ago=1)
    starts, ends = threading.Barrier(8), threading.Event()

    def try_to_hold(_: int) -> bool:
        starts.wait()
        try:
            with held(store):
                ends.wait(10)
                return True
        except SweepOwnedError:
            return False

    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(try_to_hold, index) for index in range(8)]
        while sum(future.done() for future in tries) < 7:
            time.sleep(0.01)
        ends.set()
        assert sorted(future.result() for future in tries) == [False] * 7 + [True]


class ReadAtOnceStore(PosixStore):
    """Another thread of the same process reads each file the moment it is there."""

    seen_alive: bool | None = None

    def put_if_absent(self, path: str, content: bytes) -> bool:
        put = super().put_if_absent(path, content)
        self.seen_alive = live_holder(self, LAUNCHES) is not None
        return put


def test_lease_is_live_to_other_threads_as_soon_as_its_file_exists(tmp_path: Path, dead_pid: int) -> None:
    store = ReadAtOnceStore(tmp_path)
    write_holder(store, HERE, dead_pid, seen_ago=1)
    with held(store):
        assert store.seen_alive


def test_request_to_stop_reaches_only_its_worker(store: PosixStore) -> None:
    with held(store) as first:
        assert ask_to_stop(store, LAUNCHES, first.number, "first")
        assert not ask_to_stop(store, LAUNCHES, first.number, "second")
        assert wait_until_asked(first) == "first"
    with held(store) as second:
        assert not second.wait(0.1)
        assert second.reason is None


def test_stopping_holder_stops_its_helpers(store: PosixStore) -> None:
    with held(store) as taken:
        notice = StopNotice(store, LAUNCHES, taken.number)
        assert notice() is None
        taken.ask("interrupted by SIGTERM")
        taken.ask("and again")
        deadline = time.monotonic() + 10
        while notice() is None:
            assert time.monotonic() < deadline, "no reason arrived"
        assert notice() == taken.reason == "interrupted by SIGTERM"


def test_stop_notice_reads_once_a_second_at_most(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 1.0)
    monkeypatch.setattr(lease.time, "monotonic", lambda: now[0])
    notice = StopNotice(store, LAUNCHES, 1)
    assert notice() is None
    ask_to_stop(store, LAUNCHES, 1, "why")
    now[0] += 0.9
    assert notice() is None
    now[0] += 0.2
    assert notice() == "why"


def test_take_over_waits_for_the_end_of_the_other(store: PosixStore) -> None:
    order: list[str] = []

    def work() -> None:
        with held(store) as taken:
            order.append("first works")
            begun.set()
            assert "took over" in wait_until_asked(taken)
            time.sleep(0.1)
            order.append("first ends")

    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(work)
        assert begun.wait(10)
        with held(store, take_over=True) as second:
            order.append("second works")
            assert second.number == 2
        first.result()
    assert order == ["first works", "first ends", "second works"]


def test_older_worker_stops_when_a_newer_one_exists(store: PosixStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_PATIENCE_SECONDS", 0.05)
    with held(store) as first:
        write_holder(store, "another-host", 1, seen_ago=0, number=2)
        assert wait_until_asked(first) == "a newer launch took over"


def test_waiting_for_an_end_has_a_timeout(store: PosixStore, dead_pid: int) -> None:
    write_holder(store, "another-host", 1, seen_ago=0)
    assert not wait_for_end(store, LAUNCHES, 1, 0.05)
    write_holder(store, HERE, dead_pid, seen_ago=0)
    assert wait_for_end(store, LAUNCHES, 1, 0.05)


@pytest.mark.usefixtures("short_watch")
def test_waiting_for_the_end_of_a_lost_worker_ends_when_its_heartbeat_does(store: PosixStore) -> None:
    write_holder(store, "another-host", 1, seen_ago=-600)
    assert wait_for_end(store, LAUNCHES, 1, 60)


def test_no_lease_means_no_holder_and_no_reason_to_stop(store: PosixStore) -> None:
    assert reason_to_stop(store, LAUNCHES, 1) is None
    assert newest_holder(store, LAUNCHES) is None
    assert live_holder(store, LAUNCHES) is None


class FailingStore(PosixStore):
    """Of a storage that is away while `away` is set."""

    away = False

    def replace(self, path: str, content: bytes, writer: int | None = None) -> None:
        if self.away:
            raise StorageError("the storage cannot write: No space left on device")
        super().replace(path, content, writer)


def test_outage_of_the_storage_is_logged_once_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(lease, "_HEARTBEAT_SECONDS", 0.01)
    store = FailingStore(tmp_path)
    with caplog.at_level(logging.WARNING), held(store):
        store.away = True
        time.sleep(0.2)
        store.away = False
        seen = newest_holder(store, LAUNCHES)
        deadline = time.monotonic() + 10
        while newest_holder(store, LAUNCHES) == seen:
            assert time.monotonic() < deadline, "no heartbeat"
        store.away = True
    told = [record.message.partition(":")[0] for record in caplog.records]
    assert told[0] == "the heartbeat of this launch could not be written"
    assert told[-1] == "the end of this launch could not be written"
    assert len(told) <= 3  # once an outage; of the second the heartbeat may tell too
