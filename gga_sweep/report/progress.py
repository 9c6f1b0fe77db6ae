"""How far a sweep is, as its ledger tells whoever sees it: what `gga-sweep status --watch` shows."""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import FINAL, RunState, RunStatus
from gga_sweep.report.status import Work, read_work
from gga_sweep.spec import Plan, PlannedRun

FAILURES = (RunStatus.FAILED, RunStatus.OUT_OF_MEMORY, RunStatus.DIVERGED)
"""What a person who watches wants to know the reason of."""

_HOUR = 3600.0
_LEFT_BY_LAUNCHES = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PREEMPTED)


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """What a look at the ledger gave.

    Args:
        plan: of the sweep.
        runs: of the plan, by folder; a run that two arms share is one.
        states: by folder, of the runs that were started.
        work: who works on it, or did last; None where nobody ever did.
        durations: by arm, device seconds of some of its DONE runs; an arm without one is not there.
        hosts: by folder, where the runs in training are trained, as far as was asked.
        now: seconds since the epoch.
        trouble: why a later look gave nothing, in words; None where it did.
    """

    plan: Plan
    runs: Mapping[str, PlannedRun]
    states: Mapping[str, RunState]
    work: Work | None
    durations: Mapping[str, Sequence[float]]
    hosts: Mapping[str, str]
    now: float
    trouble: str | None = None

    @property
    def counts(self) -> Counter[RunStatus]:
        counts = Counter(state.status for state in self.states.values())
        counts[RunStatus.QUEUED] += len(self.runs) - len(self.states)
        return counts

    @property
    def final(self) -> int:
        """Runs that no launch trains again."""
        return sum(number for status, number in self.counts.items() if status in FINAL)

    @property
    def live(self) -> bool:
        """Whether a launch works on the sweep."""
        return self.work is not None and self.work.alive

    @property
    def over(self) -> bool:
        """Whether there is nothing more to watch: all runs are final, or no launch is live."""
        return self.final == len(self.runs) or not self.live

    @property
    def lately(self) -> float:
        """Seconds of the last hour in which the live launch worked."""
        started = self.work.holder.started if self.work is not None and self.live else -math.inf
        return max(1.0, min(_HOUR, self.now - started))

    @property
    def ended_lately(self) -> int:
        """Runs that became final in that time."""
        since = self.now - self.lately
        return sum(state.status in FINAL and state.written >= since for state in self.states.values())

    @property
    def in_training(self) -> list[str]:
        """Folders of the runs that a launch says it trains, in the order of the plan."""
        return [name for name in self.runs if name in self.states and self.states[name].status is RunStatus.RUNNING]

    def newest_failures(self, most: int) -> list[str]:
        """Folders of the runs that failed last, the newest first."""
        failed = (name for name, state in self.states.items() if state.status in FAILURES)
        return heapq.nlargest(most, failed, key=lambda name: self.states[name].written)

    @property
    def unknown(self) -> list[str]:
        """Arms with runs left and no DONE one to tell what they take."""
        return list(dict.fromkeys(run.cell.arm for run, _ in self._left() if run.cell.arm not in self.durations))

    @property
    def seconds_left(self) -> float | None:
        """From the mean of each arm's DONE runs and the runs that train at once now; None without either.

        Of a run that was begun the steps it lacks count, as if all took alike; an arm without a DONE run counts as the
        mean of the others. Never less than the longest of the runs that are left takes.
        """
        at_once = len(self.in_training)
        if not self.durations or not self.live or not at_once:
            return None
        means = {arm: math.fsum(seconds) / len(seconds) for arm, seconds in self.durations.items()}
        usual = math.fsum(means.values()) / len(means)
        left = [means.get(run.cell.arm, usual) * share for run, share in self._left()]
        return max(max(left, default=0.0), math.fsum(left) / at_once)

    def _left(self) -> list[tuple[PlannedRun, float]]:
        """What the live launch still trains, and which share of each: what failed in it waits for the next."""
        started = self.work.holder.started if self.work is not None else -math.inf
        left = []
        for name, run in self.runs.items():
            state = self.states.get(name, RunState())
            if state.status in _LEFT_BY_LAUNCHES or (state.status not in FINAL and state.written < started):
                left.append((run, 1 - (state.step + 1) / run.config.training.steps))
        return left


class Watcher:
    """Looks at a ledger again and again, and reads only what may have changed: a final run once for each launch.

    Args:
        read_plan: reads the sweep's plan.
        ledger: of the sweep.
        most_hosts: of so many runs in training it is asked where they train.
        sample: so many DONE runs of an arm are asked what they took.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        read_plan: Callable[[], Plan],
        ledger: Ledger,
        most_hosts: int = 12,
        sample: int = 10,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read_plan = read_plan
        self._ledger = ledger
        self._most_hosts = most_hosts
        self._sample = sample
        self._clock = clock
        self._seen: tuple[bytes | None, int] | None = None

    def look(self) -> SweepProgress:
        """
        Raises:
            InputError: the folder holds no sweep, or one that was altered since.
            StorageError: the ledger cannot be read.
        """
        work = read_work(self._ledger)
        seen = self._ledger.store.read("sweep.json"), 0 if work is None else work.holder.number
        if seen != self._seen:  # another launch may have put final runs back into the queue, or have a longer plan
            self._begin_anew()
            self._seen = seen
        states = self._ledger.read_started_states(name for name in self._runs if name not in self._final)
        self._final |= {name: state for name, state in states.items() if state.status in FINAL}
        self._sample_durations()
        self._ask_hosts({name: state for name, state in states.items() if state.status is RunStatus.RUNNING})
        return SweepProgress(
            plan=self._plan,
            runs=self._runs,
            states={**self._final, **states},
            work=work,
            durations={arm: list(seconds.values()) for arm, seconds in self._durations.items()},
            hosts=dict(self._hosts),
            now=self._clock(),
        )

    def _begin_anew(self) -> None:
        self._plan = self._read_plan()
        self._runs: dict[str, PlannedRun] = {}
        for run in self._plan.runs:
            self._runs.setdefault(run.folder, run)
        self._final: dict[str, RunState] = {}
        self._durations: dict[str, dict[str, float]] = {}
        self._attempts: dict[str, int] = {}
        self._hosts: dict[str, str] = {}

    def _sample_durations(self) -> None:
        for name, state in self._final.items():
            of_arm = self._durations.setdefault(self._runs[name].cell.arm, {})
            if state.status is RunStatus.DONE and name not in of_arm and len(of_arm) < self._sample:
                of_arm[name] = math.fsum(self._ledger.run(name).read_seconds().values())
        self._durations = {arm: of_arm for arm, of_arm in self._durations.items() if of_arm}

    def _ask_hosts(self, training: Mapping[str, RunState]) -> None:
        """Once an attempt, of the runs that come first in the plan."""
        for name in list(training)[: self._most_hosts]:
            attempt = training[name].attempt
            if self._attempts.get(name) != attempt:
                self._attempts[name] = attempt
                self._hosts[name] = self._ledger.run(name).read_host(attempt) or ""
