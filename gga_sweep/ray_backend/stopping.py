"""Stops a wave after its runs have written their checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.stopper import NoopStopper

from gga_sweep.ledger.lease import Lease

DRAIN_SECONDS = 600.0
"""How long a stopping launch waits for its runs at most. Most need 30 s and the rest of an annealed step."""


class Stopping(tune.Stopper):  # type: ignore[misc]  # ray is untyped
    """Ends a wave once its launch has a reason to stop and no run trains any more.

    Runs read the stop request from the ledger (`lease.StopNotice`). Tune itself would kill them after some seconds.

    Args:
        lease: of the launch.
        training: returns whether any run trains.
    """

    def __init__(self, lease: Lease, training: Callable[[], bool]) -> None:
        self._lease = lease
        self._training = training
        self._deadline: float | None = None

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return NoopStopper, ()  # Tune saves its stopper; we never restore it

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._lease.reason is None:
            return False
        if self._deadline is None:
            self._deadline = time.monotonic() + DRAIN_SECONDS
        return not self._training() or time.monotonic() > self._deadline
