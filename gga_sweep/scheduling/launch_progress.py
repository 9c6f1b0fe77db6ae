"""The progress of a launch: counts, the runs in training, the time left."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gga_sweep.records import RunStatus
from gga_sweep.spec import PlannedRun


@dataclass(slots=True)
class Training:
    """A run in training, and its last result."""

    run: PlannedRun
    since: float
    step: int = -1
    best_validation: float = float("nan")


class _Taken(NamedTuple):
    """How long a run took, in seconds, and what was expected."""

    seconds: float
    expected: float


@dataclass(slots=True)
class LaunchProgress:
    """Counts and clocks of one launch; the driver updates them, a thread of the display reads them at any time.

    Args:
        runs: of this launch's plan, by key; `add` adds those that are suggested later.
        finished: the statuses of those that were final before.
        concurrent: runs at once, for the time left.
        expected: by key, what was left of each run when the launch began; 1 where it is not told.
        in_seconds: whether these are device-seconds, rather than of use for comparing runs alone.
        unsuggested: runs that are to come and not known yet.
        clock: seconds, monotonic.
    """

    runs: dict[str, PlannedRun]
    finished: Mapping[str, RunStatus]
    concurrent: int = 1
    expected: Mapping[str, float] = field(default_factory=dict)
    in_seconds: bool = False
    unsuggested: int = 0
    clock: Callable[[], float] = time.monotonic
    ended: dict[str, RunStatus] = field(default_factory=dict, init=False)
    training: dict[str, Training] = field(default_factory=dict, init=False)
    _taken: dict[str, list[_Taken]] = field(default_factory=dict, init=False)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def add(self, run: PlannedRun) -> None:
        """Add a run that was suggested during the launch."""
        if run.key not in self.runs:
            self.runs = {**self.runs, run.key: run}  # a copy: the display's thread may be iterating over the others
            self.unsuggested = max(0, self.unsuggested - 1)

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

    def interrupted(self, key: str) -> None:
        """A run in training was interrupted; a later wave resumes it."""
        self.training.pop(key, None)

    def ended_with(self, key: str, status: RunStatus) -> None:
        entry = self.training.pop(key, None)
        if entry is not None and status is RunStatus.DONE:
            taken = _Taken(self.clock() - entry.since, self._expected(key))
            self._taken.setdefault(entry.run.cell.arm, []).append(taken)
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
        """What is expected, times how wrong that was for the runs of the arm that were done in this launch.

        Not less than the longest of the runs that are left takes. None where no second is known.
        """
        taken, training = dict(self._taken), dict(self.training)
        if not taken and not self.in_seconds:
            return None
        wrong = {arm: _ratio(of_arm) for arm, of_arm in taken.items()}
        usually = _ratio([one for of_arm in taken.values() for one in of_arm]) if taken else 1.0
        done, now = self._statuses(training), self.clock()
        left = [0.0]
        for key, run in self.runs.items():
            if key not in done:
                spent = now - training[key].since if key in training else 0.0
                left.append(max(0.0, self._expected(key) * wrong.get(run.cell.arm, usually) - spent))
        left.extend([usually] * self.unsuggested)
        return max(*left, sum(left) / max(1, self.concurrent))

    def _expected(self, key: str) -> float:
        return self.expected.get(key, 1.0)

    def _statuses(self, training: Mapping[str, Training]) -> dict[str, RunStatus]:
        """Of the runs that have ended, and have not begun again."""
        return {key: status for key, status in {**self.finished, **self.ended}.items() if key not in training}


def _ratio(taken: Sequence[_Taken]) -> float:
    """Of what runs took to what was expected."""
    return sum(one.seconds for one in taken) / sum(one.expected for one in taken)
