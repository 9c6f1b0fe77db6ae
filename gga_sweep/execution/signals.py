"""Handles the signals of user, terminal, service manager and batch system during a launch."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gga_sweep.ledger.lease import Lease

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class StopSignals:
    """Signal handlers of a launch; from `stop_signals`."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._gentle = False
        # `nohup` ignores SIGHUP for what it starts.
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._handled = [number for number in _SIGNALS if number != signal.SIGHUP or not ignored]

    @contextmanager
    def gentle(self) -> Iterator[None]:
        """Within the block the first signal requests a stop: runs write checkpoints. Otherwise it ends the launch."""
        self.install()
        self._gentle = True
        try:
            yield
        finally:
            self._gentle = False

    def install(self) -> None:
        """Install the handlers; again after Ray has replaced that of SIGTERM, and Tune that of SIGUSR1."""
        if threading.current_thread() is threading.main_thread():
            for number in self._handled:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._gentle and self._lease.reason is None:
            self._lease.ask(f"interrupted by {signal.Signals(number).name}")
        elif number == signal.SIGINT or not self._gentle:
            raise KeyboardInterrupt
        # else: it is stopping already; a service manager that repeats its signal does not hurry it


@contextmanager
def stop_signals(lease: Lease) -> Iterator[StopSignals]:
    """Handle the signals within the block, then restore the former handlers. Outside the main thread do nothing."""
    signals = StopSignals(lease)
    before = [(number, signal.getsignal(number)) for number in _SIGNALS]
    signals.install()
    try:
        yield signals
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before:
                signal.signal(number, handler)
