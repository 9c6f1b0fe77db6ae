"""Notices that the head of a Ray cluster is gone: Ray itself ends the driver's process a minute later."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOST_AFTER_SECONDS = 20.0
"""A head that accepts no connection for so long is lost."""

_LOOK_SECONDS = 2.0

OnLost = Callable[[str, threading.Event], None]
"""Called in a thread of its own, with the reason in words, and an event that is set once nothing needs the head."""


@contextmanager
def watched_head(address: str, on_lost: OnLost) -> Iterator[None]:
    """Within the block a thread connects to the head again and again.

    Args:
        address: of the head (of Ray's GCS), HOST:PORT.
        on_lost: called once, when it is gone.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(address, on_lost, ended), name="head-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(address: str, on_lost: OnLost, ended: threading.Event) -> None:
    host, _, port = address.rpartition(":")
    last = time.monotonic()
    while not ended.wait(_LOOK_SECONDS):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_LOOK_SECONDS).close()
            last = time.monotonic()
        except OSError as error:
            if time.monotonic() - last >= LOST_AFTER_SECONDS:
                on_lost(f"the head of the Ray cluster at {address} does not respond: {error.strerror or error}", ended)
                return
