"""Progress of a sweep, read from its ledger alone: what `gga-sweep status --watch` shows."""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gga_sweep.ledger.lease import LAUNCHES, HeartbeatWatch
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import FINAL, RunState, RunStatus
from gga_sweep.report.status import Work, read_work
from gga_sweep.scheduling.estimate import Estimate, estimate_from, wall_clock
from gga_sweep.spec import Plan, PlannedRun
from gga_sweep.spec.counted_work import MeasuredWork, work_of

FAILURES = (RunStatus.FAILED, RunStatus.OUT_OF_MEMORY, RunStatus.DIVERGED)
"""Statuses that are shown with their reasons."""

_HOUR = 3600.0
_LEFT_BY_LAUNCHES = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PREEMPTED)


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """The result of one reading of the ledger.

    Args:
        plan: of the sweep.
        runs: of the plan, by folder; a run that two arms share is one.
        states: by folder, of the runs that were started.
        work: the live launch, or the last; None if there was none.
        estimate: of how long runs take, from some DONE runs of each arm.
        hosts: by folder, the nodes of runs in training, as far as they were read.
        now: seconds since the epoch.
        trouble: why a later reading failed; None if it did not.
    """

    plan: Plan
    runs: Mapping[str, PlannedRun]
    states: Mapping[str, RunState]
    work: Work | None
    estimate: Estimate
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
        """Whether a launch is live, or not known to be lost."""
        return self.work is not None and self.work.alive is not False

    @property
    def over(self) -> bool:
        """Whether watching ends: all runs are final, or no launch is live."""
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
        """Folders of the runs in training, in the order of the plan."""
        return [name for name in self.runs if name in self.states and self.states[name].status is RunStatus.RUNNING]

    def newest_failures(self, most: int) -> list[str]:
        """Folders of the runs that failed last, the newest first."""
        failed = (name for name, state in self.states.items() if state.status in FAILURES)
        return heapq.nlargest(most, failed, key=lambda name: self.states[name].written)

    @property
    def unknown(self) -> list[str]:
        """Arms with runs left of a kind of which none is DONE."""
        return list(dict.fromkeys(run.cell.arm for run, _ in self._left() if not self.estimate.covers(run.config)))

    @property
    def seconds_left(self) -> float | None:
        """By the estimate and the number of runs in training; None without DONE runs, or with none in training."""
        at_once = len(self.in_training)
        if not self.estimate.in_seconds or not self.live or not at_once:
            return None
        return wall_clock([self.estimate.total(run.config, trained) for run, trained in self._left()], at_once)

    def _left(self) -> list[tuple[PlannedRun, int]]:
        """The runs that the live launch still trains, and their steps done. Failed ones wait for the next launch."""
        started = self.work.holder.started if self.work is not None else -math.inf
        left = []
        for name, run in self.runs.items():
            state = self.states.get(name, RunState())
            if state.status in _LEFT_BY_LAUNCHES or (state.status not in FINAL and state.written < started):
                left.append((run, state.step + 1))
        return left


class Watcher:
    """Reads a ledger repeatedly, but only what may have changed: a final run once for each launch.

    Args:
        read_plan: reads the sweep's plan.
        ledger: of the sweep.
        most_hosts: runs in training whose nodes are read.
        sample: DONE runs of an arm whose seconds are read.
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
        self._heartbeat = HeartbeatWatch(ledger.store, LAUNCHES)

    def look(self) -> SweepProgress:
        """
        Raises:
            InputError: the folder holds no sweep, or one that was altered since.
            StorageError: the ledger cannot be read.
        """
        work = read_work(self._ledger, self._heartbeat)
        seen = self._ledger.store.read("sweep.json"), 0 if work is None else work.holder.number
        if seen != self._seen:  # another launch may have put final runs back into the queue, or have a longer plan
            self._begin_anew()
            self._seen = seen
        states = self._ledger.read_started_states(name for name in self._runs if name not in self._final)
        self._final |= {name: state for name, state in states.items() if state.status in FINAL}
        self._sample_seconds()
        self._read_hosts({name: state for name, state in states.items() if state.status is RunStatus.RUNNING})
        return SweepProgress(
            plan=self._plan,
            runs=self._runs,
            states={**self._final, **states},
            work=work,
            estimate=estimate_from(self._plan.sweep.dataset, self._measured.values()),
            hosts=dict(self._hosts),
            now=self._clock(),
        )

    def _begin_anew(self) -> None:
        self._plan = self._read_plan()
        self._runs: dict[str, PlannedRun] = {}
        for run in self._plan.runs:
            self._runs.setdefault(run.folder, run)
        self._final: dict[str, RunState] = {}
        self._measured: dict[str, MeasuredWork] = {}
        self._attempts: dict[str, int] = {}
        self._hosts: dict[str, str] = {}

    def _sample_seconds(self) -> None:
        sampled = Counter(self._runs[name].cell.arm for name in self._measured)
        for name, state in self._final.items():
            run = self._runs[name]
            if state.status is RunStatus.DONE and name not in self._measured and sampled[run.cell.arm] < self._sample:
                sampled[run.cell.arm] += 1
                work = work_of(run.config, self._plan.sweep.dataset)
                self._measured[name] = MeasuredWork(work, self._ledger.run(name).read_seconds())

    def _read_hosts(self, training: Mapping[str, RunState]) -> None:
        """Read once per attempt, for the first runs of the plan."""
        for name in list(training)[: self._most_hosts]:
            attempt = training[name].attempt
            if self._attempts.get(name) != attempt:
                self._attempts[name] = attempt
                self._hosts[name] = self._ledger.run(name).read_host(attempt) or ""
