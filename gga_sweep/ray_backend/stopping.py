"""A launch that is asked to stop lets its runs write their checkpoints first."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.stopper import NoopStopper

from gga_sweep.ledger.lease import Lease

DRAIN_SECONDS = 600.0
"""How long a stopping launch waits for its runs at most: 30 s, and the annealed step that each is in."""


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
