"""The progress of a launch: counts, the runs in training, the time left."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gga_sweep.records import RunStatus
from gga_sweep.scheduling.estimate import Estimate, wall_clock
from gga_sweep.spec import PlannedRun


@dataclass(slots=True)
class Training:
    """A run in training, and its last result."""

    run: PlannedRun
    since: float
    step: int = -1
    best_validation: float = float("nan")


@dataclass(slots=True)
class LaunchProgress:
    """Counts and clocks of one launch; the driver updates them, a thread of the display reads them at any time.

    Args:
        runs: of this launch's plan, by key; `add` adds those that are suggested later.
        finished: the statuses of those that were final before.
        concurrent: runs at once, for the time left.
        estimate: of how long runs take; None counts them as equal.
        expected: by key, the estimated time left of each run when the launch began.
        unsuggested: number of runs that will be suggested later.
        clock: seconds, monotonic.
    """

    runs: dict[str, PlannedRun]
    finished: Mapping[str, RunStatus]
    concurrent: int = 1
    estimate: Estimate | None = None
    expected: Mapping[str, float] = field(default_factory=dict)
    unsuggested: int = 0
    clock: Callable[[], float] = time.monotonic
    ended: dict[str, RunStatus] = field(default_factory=dict, init=False)
    training: dict[str, Training] = field(default_factory=dict, init=False)
    best_by_arm: dict[str, float] = field(default_factory=dict, init=False)
    """The highest validation score that a run of the arm had in this launch, in [0, 1]."""
    _taken: float = field(default=0.0, init=False)
    _foreseen: float = field(default=0.0, init=False)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def add(self, run: PlannedRun) -> None:
        """Add a run that was suggested during the launch."""
        if run.key not in self.runs:
            self.runs = {**self.runs, run.key: run}  # a copy: the display's thread may be iterating over the others
            self.unsuggested = max(0, self.unsuggested - 1)
            if self.estimate is not None:
                self.expected = {**self.expected, run.key: self.estimate.total(run.config)}

    @property
    def total(self) -> int:
        return len(self.runs) + self.unsuggested

    def started(self, key: str) -> None:
        """A run starts, or resumes in a later wave."""
        if key in self.runs and key not in self.training:
            self.training[key] = Training(self.runs[key], self.clock())

    def reported(self, key: str, step: int, validation: float) -> None:
        self.started(key)
        if key in self.training:
            entry = self.training[key]
            entry.step = step
            if validation > entry.best_validation or math.isnan(entry.best_validation):  # a later NaN does not win
                entry.best_validation = validation
            self._stand(entry.run.cell.arm, validation)

    def _stand(self, arm: str, validation: float) -> None:
        if validation >= self.best_by_arm.get(arm, -math.inf):  # not of NaN
            self.best_by_arm[arm] = validation

    def interrupted(self, key: str) -> None:
        """A run in training was interrupted; a later wave resumes it."""
        self.training.pop(key, None)

    def ended_with(self, key: str, status: RunStatus) -> None:
        entry = self.training.pop(key, None)
        if entry is not None and status is RunStatus.DONE:
            self._taken += self.clock() - entry.since
            self._foreseen += self.expected.get(key, 1.0)
        if key in self.runs:
            self.ended[key] = status

    @property
    def counts(self) -> Counter[RunStatus]:
        """Runs of the plan by status, those final before this launch included."""
        training = dict(self.training)
        statuses = self._statuses(training)
        counts = Counter(statuses.values())
        counts[RunStatus.RUNNING] = len(training)
        counts[RunStatus.QUEUED] = self.total - len(statuses) - len(training)
        return counts

    @property
    def elapsed(self) -> float:
        return self.clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """By the estimate, scaled by what the runs took that were done in this launch; None if no second is known."""
        if not self._foreseen and (self.estimate is None or not self.estimate.in_seconds):
            return None
        scale = self._taken / self._foreseen if self._foreseen else 1.0
        expected, training, now = self.expected, dict(self.training), self.clock()
        left = [scale * sum(expected.values()) / len(expected) if expected else scale] * self.unsuggested
        for key in self.runs.keys() - self._statuses(training).keys():
            spent = now - training[key].since if key in training else 0.0
            left.append(max(0.0, scale * expected.get(key, 1.0) - spent))
        return wall_clock(left, self.concurrent)

    def _statuses(self, training: Mapping[str, Training]) -> dict[str, RunStatus]:
        """Of the runs that have ended, and have not begun again."""
        return {key: status for key, status in {**self.finished, **self.ended}.items() if key not in training}
