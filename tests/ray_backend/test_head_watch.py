"""A cluster whose head is gone is noticed before Ray ends the process."""

from __future__ import annotations

import socket
import threading

import pytest

from gga_sweep.ray_backend import head_watch
from gga_sweep.ray_backend.head_watch import watched_head


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_watch, "LOST_AFTER_SECONDS", 0.3)
    monkeypatch.setattr(head_watch, "_LOOK_SECONDS", 0.05)


def test_head_that_goes_is_reported_once_with_its_address() -> None:
    reports: list[str] = []
    reported = threading.Event()

    def lose(reason: str, ended: threading.Event) -> None:
        reports.append(reason)
        reported.set()
        assert not ended.is_set()

    head = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{head.getsockname()[1]}"
    with watched_head(address, lose):
        assert not reported.wait(0.6)
        head.close()
        assert reported.wait(10)
    assert reports == [f"the head of the Ray cluster at {address} does not respond: Connection refused"]


def test_head_that_comes_back_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False, False, True, False, False] * 20)
    moments = iter(range(10_000))

    def connect(address: object, timeout: float) -> socket.socket:
        if next(answers):
            return socket.socket()
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(head_watch, "LOST_AFTER_SECONDS", 5)
    monkeypatch.setattr(head_watch, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(head_watch.time, "monotonic", lambda: float(next(moments)))
    monkeypatch.setattr(head_watch.socket, "create_connection", connect)
    lost = threading.Event()
    with watched_head("127.0.0.1:9", lambda reason, ended: lost.set()):
        assert not lost.wait(0.05)
