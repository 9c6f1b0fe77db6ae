"""Leases on a ledger: for each kind of work (a folder of the ledger), one live worker at a time.

Each worker takes the next number of its kind. `FOLDER/000007.json` names its process and its last heartbeat. The worker
with the newest number holds the lease until it releases it, its process is gone (seen from its own machine), or its
heartbeat has not changed for 120 s while another process watched it. Two clocks are never compared.
`FOLDER/000007.stop` requests that this worker and its helpers stop; it holds the reason.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import msgspec

from gga_sweep.errors import StorageError, SweepOwnedError
from gga_sweep.ledger.json_codec import dump
from gga_sweep.ledger.process import birth_of, exists
from gga_sweep.ledger.store import LedgerStore

LAUNCHES = "launches"
"""The kind of work that trains a sweep."""

DEAD_AFTER_SECONDS = 120.0
"""A worker whose heartbeat does not change for so long, while it is watched, counts as dead."""

_HEARTBEAT_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = 90.0

_held_here: set[float] = set()
"""The start times of the leases that this process holds. Without them, an older lease under the same process id, or
one whose end could not be written, would look alive."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker that took a number.

    Args:
        started, seen: its start and its last heartbeat, in seconds since the epoch, by its own clock.
        ended: when it released the lease; None while it works, and after it was killed.
        birth: tells its process from a later one with the same id; see `birth_of`.
    """

    host: str
    pid: int
    started: float
    seen: float
    ended: float | None = None
    number: int = 0
    birth: str = ""

    @property
    def is_gone(self) -> bool:
        """Whether it released the lease, or its process is of this machine and has ended."""
        return self.ended is not None or self._exists is False

    @property
    def is_here(self) -> bool:
        """Whether its process exists on this machine. On others a `HeartbeatWatch` shows whether it does."""
        return self.ended is None and self._exists is True

    @property
    def _exists(self) -> bool | None:
        found = exists(self.host, self.pid, self.birth)
        return self.started in _held_here if found and self.pid == os.getpid() else found

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


_HOLDER = msgspec.json.Decoder(Holder)


class HeartbeatWatch:
    """Finds out whether a worker on another machine lives: whether its heartbeat changes while this object watches it.

    Args:
        folder: of the lease.
        number: of the worker; None watches the newest one.
    """

    def __init__(self, store: LedgerStore, folder: str, number: int | None = None) -> None:
        self.has_beaten = False
        """Whether the heartbeat of the present worker has changed since it was first read."""
        self._store = store
        self._folder = folder
        self._number = number
        self._last: Holder | None = None
        self._since = 0.0

    def live_holder(self) -> Holder | None:
        """The worker, unless it is gone or its heartbeat has not changed for 120 s of watching."""
        number = self._number or _newest_number(self._store, self._folder)
        holder = _read_holder(self._store, self._folder, number) if number else None
        if holder is None or holder.is_gone:
            return None
        if holder != self._last:
            self.has_beaten = self._last is not None and holder.number == self._last.number
            self._last, self._since = holder, time.monotonic()
        silent = time.monotonic() - self._since >= DEAD_AFTER_SECONDS
        return None if silent and not holder.is_here else holder


def newest_holder(store: LedgerStore, folder: str) -> Holder | None:
    """The last worker that took the lease, dead or alive; None before the first."""
    number = _newest_number(store, folder)
    return None if number == 0 else _read_holder(store, folder, number)


def live_holder(store: LedgerStore, folder: str) -> Holder | None:
    """The worker that holds the lease now; None if there is none.

    A worker on another machine counts as live until it has ended; `wait_for_heartbeat` finds out.
    """
    return HeartbeatWatch(store, folder).live_holder()


def wait_for_heartbeat(store: LedgerStore, folder: str) -> Holder | None:
    """The worker that holds the lease now. One on another machine is watched until its heartbeat changes.

    Returns:
        None if there is none, or its heartbeat does not change within 120 s.
    """
    watch = HeartbeatWatch(store, folder)
    holder = watch.live_holder()
    if holder is not None and not holder.is_here:
        logger.warning("%s has not ended: its heartbeat is watched, for %.0f s at most", holder, DEAD_AFTER_SECONDS)
    while holder is not None and not holder.is_here and not watch.has_beaten:
        time.sleep(_LOOK_SECONDS)
        holder = watch.live_holder()
    return holder


def ask_to_stop(store: LedgerStore, folder: str, number: int, reason: str) -> bool:
    """Request that the worker of that number, and no later one, stop; False if that was requested before."""
    return store.put_if_absent(f"{folder}/{number:06d}.stop", reason.encode())


def wait_for_end(store: LedgerStore, folder: str, number: int, seconds: float) -> bool:
    """Whether the worker of that number has ended, or died, within so many seconds."""
    watch, deadline = HeartbeatWatch(store, folder, number), time.monotonic() + seconds
    while watch.live_holder() is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_SECONDS / 4)
    return True


def reason_to_stop(store: LedgerStore, folder: str, number: int) -> str | None:
    """The reason why the worker of that number should stop; None if it should not."""
    content = store.read(f"{folder}/{number:06d}.stop")
    return None if content is None else content.decode(errors="replace")


class StopNotice:
    """Returns the reason to stop, in any process that works for a lease. Reads the file once a second at most."""

    def __init__(self, store: LedgerStore, folder: str, number: int) -> None:
        self._store = store
        self._folder = folder
        self._number = number
        self._looked = -math.inf
        self._reason: str | None = None

    def __call__(self) -> str | None:
        """The reason why the holder should stop; None while it should not."""
        now = time.monotonic()
        if self._reason is None and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._reason = reason_to_stop(self._store, self._folder, self._number)
        return self._reason


class Lease:
    """A lease that this process holds; `held` makes one. A thread writes its heartbeat and reads requests to stop.

    Attributes:
        number: of this lease.
    """

    def __init__(self, store: LedgerStore, folder: str, holder: Holder) -> None:
        self.number = holder.number
        self._store = store
        self._folder = folder
        self._holder = holder
        self._reason: str | None = None
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._released = False
        self._thread = threading.Thread(target=self._work, name=f"{folder}-heartbeat", daemon=True)
        self._thread.start()

    @property
    def reason(self) -> str | None:
        """The reason why this worker should stop; None while it should not."""
        return self._reason

    def is_newest(self) -> bool:
        """Whether no later number was taken. If one was (this machine slept, say), this worker must not go on."""
        return _newest_number(self._store, self._folder) == self.number

    def wait(self, seconds: float) -> bool:
        """Wait for a reason to stop, so many seconds at most; whether there is one."""
        return self._stopping.wait(seconds)

    def ask(self, reason: str) -> None:
        """Stop, with all processes that work for this lease. The first reason stands. Safe in a signal handler."""
        if self._reason is None:
            self._reason = reason
            self._stopping.set()
            self._wake.set()

    def release(self) -> None:
        """Release the lease."""
        self._released = True
        _held_here.discard(self._holder.started)
        self._wake.set()
        self._thread.join()
        try:
            self._write(ended=time.time())
        except StorageError as error:
            logger.warning("the end of this launch could not be written: %s", error)

    def _work(self) -> None:
        beaten, published, away = time.monotonic(), False, False
        while not self._released:
            self._wake.wait(_LOOK_SECONDS)
            self._wake.clear()
            try:
                self._look()
                if self._reason is not None and not published:
                    ask_to_stop(self._store, self._folder, self.number, self._reason)
                    published = True
                if time.monotonic() - beaten >= _HEARTBEAT_SECONDS:
                    self._write()
                    beaten = time.monotonic()
                away = False
            except StorageError as error:  # the storage may come back; a run in training fails on its own
                if not away:
                    logger.warning("the heartbeat of this launch could not be written: %s", error)
                away = True

    def _look(self) -> None:
        if self._reason is None:
            if (reason := reason_to_stop(self._store, self._folder, self.number)) is not None:
                self.ask(reason)
            elif not self.is_newest():
                self.ask("a newer launch took over")

    def _write(self, ended: float | None = None) -> None:
        holder = replace(self._holder, seen=time.time(), ended=ended)
        self._store.replace(_path(self._folder, self.number), _content(holder))


@contextmanager
def held(
    store: LedgerStore, folder: str = LAUNCHES, take_over: bool = False, watch: HeartbeatWatch | None = None
) -> Iterator[Lease]:
    """Hold the lease for the length of a `with` block. See `wait_for_heartbeat` about a holder on another machine.

    Args:
        take_over: request that a live holder stop, wait for its end for 90 s at most, then go on.
        watch: of a caller that tries again and again, and does not wait here.

    Raises:
        SweepOwnedError: another live worker holds it.
    """
    lease = _claim(store, folder, take_over, watch)
    try:
        yield lease
    finally:
        lease.release()


def _claim(store: LedgerStore, folder: str, take_over: bool, watch: HeartbeatWatch | None) -> Lease:
    number = _newest_number(store, folder) + 1  # another process may take it first
    if take_over:
        if (present := live_holder(store, folder)) is not None:
            here = f"process {os.getpid()} on {socket.gethostname()}"
            ask_to_stop(store, folder, present.number, f"{here} took over")
            wait_for_end(store, folder, present.number, _PATIENCE_SECONDS)
    else:
        present = wait_for_heartbeat(store, folder) if watch is None else watch.live_holder()
        if present is not None:
            raise SweepOwnedError(f"another launch owns this sweep: {present}; `--take-over` stops it")
    now, birth = time.time(), birth_of(os.getpid()) or ""
    mine = Holder(socket.gethostname(), os.getpid(), now, now, number=number, birth=birth)
    _held_here.add(mine.started)  # before the file exists: another thread may read it at once
    if not store.put_if_absent(_path(folder, number), _content(mine)):
        _held_here.discard(mine.started)
        winner = newest_holder(store, folder)
        raise SweepOwnedError(f"another launch was quicker to own this sweep: {winner}")
    return Lease(store, folder, mine)


def _newest_number(store: LedgerStore, folder: str) -> int:
    stems = (name.removesuffix(".json") for name in store.list(folder) if name.endswith(".json"))
    return max((int(stem) for stem in stems if stem.isdecimal()), default=0)


def _read_holder(store: LedgerStore, folder: str, number: int) -> Holder:
    """A worker whose file is damaged counts as dead, until its next heartbeat writes the file again."""
    try:
        return replace(_HOLDER.decode(store.read(_path(folder, number)) or b""), number=number)
    except msgspec.DecodeError:
        return Holder("?", 0, 0.0, 0.0, 0.0, number)


def _path(folder: str, number: int) -> str:
    return f"{folder}/{number:06d}.json"


def _content(holder: Holder) -> bytes:
    return dump(holder).encode()
