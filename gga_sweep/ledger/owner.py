"""Who launches a sweep: one live launch at a time."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gga_sweep.errors import SweepOwnedError
from gga_sweep.ledger.lines import dump
from gga_sweep.ledger.store import LedgerStore

_FILE = "owner.json"
_HEARTBEAT_SECONDS = 10.0
_DEAD_AFTER_SECONDS = 120.0


@contextmanager
def owned(store: LedgerStore) -> Iterator[None]:
    """Own the sweep for the length of a `with` block.

    A launch is alive while its heartbeat is young and, on this host, its process exists.

    Raises:
        SweepOwnedError: another live launch owns it.
    """
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}
    _claim(store, mine)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(store, mine, stop), name="sweep-heartbeat", daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        store.delete(_FILE)


def _claim(store: LedgerStore, mine: dict[str, Any]) -> None:
    if store.put_if_absent(_FILE, _content(mine)):
        return
    present = json.loads(store.read(_FILE) or b"{}")
    if present and _is_alive(present):
        raise SweepOwnedError(
            f"another launch owns this sweep: process {present['pid']} on {present['host']}, "
            f"last seen {time.time() - present['seen']:.0f} s ago"
        )
    store.replace(_FILE, _content(mine))


def _beat(store: LedgerStore, mine: dict[str, Any], stop: threading.Event) -> None:
    while not stop.wait(_HEARTBEAT_SECONDS):
        store.replace(_FILE, _content(mine))


def _content(mine: dict[str, Any]) -> bytes:
    return dump({**mine, "seen": time.time()}).encode()


def _is_alive(owner: dict[str, Any]) -> bool:
    if time.time() - owner["seen"] > _DEAD_AFTER_SECONDS:
        return False
    return owner["host"] != socket.gethostname() or _process_exists(owner["pid"])


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
