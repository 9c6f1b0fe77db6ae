"""Returns the runs of a plan one by one; some wait for steps that another run trains."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import delete_prefixes
from gga_sweep.scheduling.next_runs import NextRun
from gga_sweep.scheduling.prefix_sharing import PrefixSharing
from gga_sweep.spec import PlannedRun


class PlannedRuns:
    """Returns the runs of a plan, the longest first.

    Args:
        runs: to train, by key.
        expected: how long each takes, by key, in any unit.
        sharing: of the steps of all these runs.
        ledger: prefixes that no run needs any more are deleted in it.
    """

    def __init__(
        self, runs: Mapping[str, PlannedRun], expected: Mapping[str, float], sharing: PrefixSharing, ledger: Ledger
    ) -> None:
        self._runs, self._sharing, self._ledger = runs, sharing, ledger
        self._places = {key: place for place, key in enumerate(longest_first(expected))}
        self._queue = [(self._places[key], key) for key in runs]
        heapq.heapify(self._queue)
        self._blocked: dict[str, list[str]] = {}

    @property
    def exhausted(self) -> bool:
        """Whether all runs have been returned."""
        return not self._queue and not self._blocked

    def take(self) -> NextRun | None:
        """A run to train now; None while all remaining ones wait for one in training."""
        while self._queue:
            _, key = heapq.heappop(self._queue)
            if (blocker := self._sharing.blocker(key)) is None:
                return NextRun(self._runs[key], branching=self._sharing.begin(key))
            self._blocked.setdefault(blocker, []).append(key)
        return None

    def reached(self, key: str, steps: int) -> None:
        """Note that a run in training has done so many steps."""
        if self._sharing.reached(key, steps):
            self._requeue(key)

    def ended(self, key: str) -> None:
        """Note that a run in training has ended."""
        delete_prefixes(self._ledger.store, self._sharing.ended(key))
        self._requeue(key)

    def _requeue(self, blocker: str) -> None:
        for key in self._blocked.pop(blocker, []):
            heapq.heappush(self._queue, (self._places[key], key))


def longest_first(expected: Mapping[str, float]) -> list[str]:
    """The order in which runs begin, so that all devices end at about the same time. Equal runs keep their order.

    Args:
        expected: how long each takes, by key, in any unit.
    """
    return sorted(expected, key=lambda key: -expected[key])
