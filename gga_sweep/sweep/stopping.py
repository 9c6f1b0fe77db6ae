"""A launch that is asked to stop lets its runs write their checkpoints first."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray import tune
from ray.tune.stopper import NoopStopper

from gga_sweep.ledger.lease import Lease

DRAIN_SECONDS = 600.0
"""How long a stopping launch waits for its runs at most: 30 s, and the annealed step that each is in."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopping(tune.Stopper):  # type: ignore[misc]  # ray is untyped
    """Ends a wave once its launch was asked to stop and no run trains any more.

    The runs hear of it through the ledger (`lease.StopNotice`): Tune itself would kill them after some seconds.

    Args:
        lease: of the launch.
        training: whether any run trains.
    """

    def __init__(self, lease: Lease, training: Callable[[], bool]) -> None:
        self._lease = lease
        self._training = training
        self._deadline: float | None = None

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return NoopStopper, ()  # Tune saves its stopper, and nobody restores it

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._lease.reason is None:
            return False
        if self._deadline is None:
            self._deadline = time.monotonic() + DRAIN_SECONDS
        return not self._training() or time.monotonic() > self._deadline


class StopSignals:
    """SIGINT, SIGTERM and SIGUSR1 while a sweep is launched; made by `stop_signals`."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._gentle = False

    @contextmanager
    def gentle(self) -> Iterator[None]:
        """For the length of the block the first signal asks the launch to stop; otherwise it ends at once."""
        self._gentle = True
        try:
            yield
        finally:
            self._gentle = False

    def listen(self) -> None:
        """Take the signals; again after anybody else took them, as Tune takes SIGUSR1."""
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
