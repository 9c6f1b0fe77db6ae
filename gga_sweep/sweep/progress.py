"""How far a launch is: counts, the runs in training, the time left. What the display and the log lines show."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gga_sweep.planning import PlannedRun
from gga_sweep.records import RunStatus


@dataclass(slots=True)
class Training:
    """A run in training, as its last result told."""

    run: PlannedRun
    since: float
    step: int = -1
    best_validation: float = float("nan")


@dataclass(slots=True)
class LaunchProgress:
    """Counts and clocks of one launch; fed by the driver, read by a thread of the display at any moment.

    Args:
        runs: of this launch's plan, by key.
        finished: the statuses of those that were final before.
        concurrent: runs at once, for the time left.
        clock: seconds, monotonic.
    """

    runs: Mapping[str, PlannedRun]
    finished: Mapping[str, RunStatus]
    concurrent: int = 1
    clock: Callable[[], float] = time.monotonic
    ended: dict[str, RunStatus] = field(default_factory=dict, init=False)
    training: dict[str, Training] = field(default_factory=dict, init=False)
    _durations: dict[str, list[float]] = field(default_factory=dict, init=False)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def started(self, key: str) -> None:
        """A run begins, or begins again in a later wave."""
        if key in self.runs and key not in self.training:
            self.training[key] = Training(self.runs[key], self.clock())

    def reported(self, key: str, step: int, validation: float) -> None:
        self.started(key)
        if key in self.training:
            entry = self.training[key]
            entry.step = step
            if validation > entry.best_validation or math.isnan(entry.best_validation):  # a later NaN does not win
                entry.best_validation = validation

    def broke_off(self, key: str) -> None:
        """A run in training was left where it is, for a later wave."""
        self.training.pop(key, None)

    def ended_with(self, key: str, status: RunStatus) -> None:
        entry = self.training.pop(key, None)
        if entry is not None:
            self._durations.setdefault(entry.run.cell.arm, []).append(self.clock() - entry.since)
        if key in self.runs:
            self.ended[key] = status

    @property
    def counts(self) -> Counter[RunStatus]:
        """Runs of the plan by status, those final before this launch included."""
        training = dict(self.training)
        statuses = self._statuses(training)
        counts = Counter(statuses.values())
        counts[RunStatus.RUNNING] = len(training)
        counts[RunStatus.QUEUED] = len(self.runs) - len(statuses) - len(training)
        return counts

    @property
    def elapsed(self) -> float:
        return self.clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """From the mean duration of the runs of each arm that ended in this launch; None before the first.

        Not less than the longest of the runs that are left takes.
        """
        durations, training = dict(self._durations), dict(self.training)
        if not durations:
            return None
        means = {arm: sum(values) / len(values) for arm, values in durations.items()}
        usual = sum(means.values()) / len(means)
        done, now = self._statuses(training), self.clock()
        left = [0.0]
        for key, run in self.runs.items():
            if key not in done:
                spent = now - training[key].since if key in training else 0.0
                left.append(max(0.0, means.get(run.cell.arm, usual) - spent))
        return max(*left, sum(left) / max(1, self.concurrent))

    def _statuses(self, training: Mapping[str, Training]) -> dict[str, RunStatus]:
        """Of the runs that have ended, and have not begun again."""
        return {key: status for key, status in {**self.finished, **self.ended}.items() if key not in training}


def duration_in_words(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`, `1 d 04 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def counts_in_words(counts: Mapping[RunStatus, int], statuses: Iterable[RunStatus] = RunStatus) -> str:
    """`22 queued, 2 running, 12 done`."""
    shown = [f"{counts[status]} {status.value.replace('_', ' ').lower()}" for status in statuses if counts.get(status)]
    return ", ".join(shown) or "no runs"
