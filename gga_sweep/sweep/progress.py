"""How far a launch is: counts, the runs in training, the time left. What the display and the log lines show."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
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
    """Counts and clocks of one launch; fed by the driver, read by the display.

    Args:
        runs: of this launch's plan, by key.
        finished: the statuses of those that were final before.
        clock: seconds, monotonic.
    """

    runs: Mapping[str, PlannedRun]
    finished: Mapping[str, RunStatus]
    concurrent: int = 1
    ended: dict[str, RunStatus] = field(default_factory=dict)
    training: dict[str, Training] = field(default_factory=dict)
    _durations: dict[str, list[float]] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def started(self, key: str) -> None:
        if key in self.runs and key not in self.training:
            self.training[key] = Training(self.runs[key], time.monotonic())

    def reported(self, key: str, step: int, validation: float) -> None:
        self.started(key)
        if key in self.training:
            entry = self.training[key]
            entry.step = step
            if not validation <= entry.best_validation:  # also true while the best is still NaN
                entry.best_validation = validation

    def ended_with(self, key: str, status: RunStatus) -> None:
        entry = self.training.pop(key, None)
        if entry is not None:
            self._durations.setdefault(entry.run.cell.arm, []).append(time.monotonic() - entry.since)
        if key in self.runs:
            self.ended[key] = status

    @property
    def counts(self) -> Counter[RunStatus]:
        """Runs of the plan by status, those final before this launch included."""
        statuses = {**self.finished, **self.ended}
        counts = Counter(statuses.values())
        counts[RunStatus.RUNNING] = len(self.training)
        counts[RunStatus.QUEUED] = len(self.runs) - len(statuses) - len(self.training)
        return counts

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    @property
    def seconds_left(self) -> float | None:
        """From the mean duration of the runs of each arm that ended in this launch; None before the first."""
        if not self._durations:
            return None
        means = {arm: sum(values) / len(values) for arm, values in self._durations.items()}
        usual = sum(means.values()) / len(means)
        done = {**self.finished, **self.ended}
        now = time.monotonic()
        left = 0.0
        for key, run in self.runs.items():
            if key not in done:
                spent = now - self.training[key].since if key in self.training else 0.0
                left += max(0.0, means.get(run.cell.arm, usual) - spent)
        return left / max(1, self.concurrent)


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
    """`12 done, 2 running, 22 queued`."""
    shown = [f"{counts[status]} {status.value.replace('_', ' ').lower()}" for status in statuses if counts.get(status)]
    return ", ".join(shown) or "no runs"
