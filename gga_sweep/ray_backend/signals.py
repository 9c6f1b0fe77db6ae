"""The signals of a user, a service manager and a batch system, while a sweep is launched."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gga_sweep.ledger.lease import Lease

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopSignals:
    """SIGINT, SIGTERM and SIGUSR1 while a sweep is launched; made by `stop_signals`."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._gentle = False

    @contextmanager
    def gentle(self) -> Iterator[None]:
        """For the length of the block the first signal asks the launch to stop; otherwise it ends at once."""
        self.listen()
        self._gentle = True
        try:
            yield
        finally:
            self._gentle = False

    def listen(self) -> None:
        """Take the signals; again after others took them: Ray takes SIGTERM, Tune SIGUSR1."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._gentle and self._lease.reason is None:
            self._lease.ask(f"interrupted by {signal.Signals(number).name}")
        elif number == signal.SIGINT or not self._gentle:
            raise KeyboardInterrupt
        # else: it stops already; who asks again by a machine's signal is as patient as before


@contextmanager
def stop_signals(lease: Lease) -> Iterator[StopSignals]:
    """Hear the signals for the length of the block; in another thread than the main one there are none to hear."""
    signals = StopSignals(lease)
    before = [(number, signal.getsignal(number)) for number in _SIGNALS]
    signals.listen()
    try:
        yield signals
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before:
                signal.signal(number, handler)
