"""Estimates the time of runs: counted work of each phase times measured seconds per unit of work.

One estimate serves the order of runs, `plan`, and the time left of a launch and of `status --watch`. Within one sweep
dataset and network are the same, so kinds of work do not distinguish them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass

from gga_sweep.datasets import DatasetDescription
from gga_sweep.records import RunResult, RunStatus
from gga_sweep.spec.counted_work import MeasuredWork, work_of
from gga_sweep.spec.models import ResourcesConfig, RunSpec
from gga_sweep.spec.plan import Plan

_TRAINING = "training"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Device-seconds of the runs of one sweep. Made by `estimate_from`.

    Args:
        dataset: of the sweep.
        unit_seconds: by phase and kind of work; under the kind None, by phase alone.
    """

    dataset: DatasetDescription
    unit_seconds: Mapping[tuple[str, Hashable], float]

    @property
    def in_seconds(self) -> bool:
        """Whether anything was measured. If not, estimates are in units of work and only compare runs."""
        return bool(self.unit_seconds)

    def seconds(self, config: RunSpec, trained: int = 0) -> dict[str, float]:
        """Device-seconds by phase.

        Args:
            trained: steps done; only the remaining ones count.
        """
        work = work_of(config, self.dataset, trained)
        return {phase: of_phase.units * self._unit_seconds(phase, of_phase.kind) for phase, of_phase in work.items()}

    def total(self, config: RunSpec, trained: int = 0) -> float:
        """Device-seconds of all phases."""
        return math.fsum(self.seconds(config, trained).values())

    def covers(self, config: RunSpec) -> bool:
        """Whether training and candidate search of its kind were measured, not scaled from other kinds."""
        work = work_of(config, self.dataset)
        return all((phase, work[phase].kind) in self.unit_seconds for phase in (_TRAINING, "search") if phase in work)

    def _unit_seconds(self, phase: str, kind: Hashable) -> float:
        """Of the kind; else of the phase; else of training."""
        for place in ((phase, kind), (phase, None), (_TRAINING, None)):
            if place in self.unit_seconds:
                return self.unit_seconds[place]
        return 1.0


def estimate_from(dataset: DatasetDescription, measured: Iterable[MeasuredWork]) -> Estimate:
    """An estimate from measured work of one sweep; there may be none.

    Args:
        dataset: of the sweep.
    """
    seconds: dict[tuple[str, Hashable], float] = {}
    units: dict[tuple[str, Hashable], float] = {}
    for one in measured:
        for phase, work in one.work.items():
            spent = one.seconds.get(phase, 0.0)
            if spent > 0 and work.units > 0:
                for place in ((phase, work.kind), (phase, None)):
                    seconds[place] = seconds.get(place, 0.0) + spent
                    units[place] = units.get(place, 0.0) + work.units
    if (_TRAINING, None) not in seconds:
        return Estimate(dataset, {})
    return Estimate(dataset, {place: seconds[place] / units[place] for place in seconds})


def estimate_from_runs(plan: Plan, results: Mapping[str, RunResult]) -> Estimate:
    """An estimate from the DONE runs of a plan.

    Args:
        results: by folder; others than DONE runs of the plan are ignored.
    """
    configs = {run.folder: run.config for run in plan.runs}  # two arms may share one
    dataset = plan.sweep.dataset
    return estimate_from(
        dataset,
        (
            MeasuredWork(work_of(config, dataset), results[folder].seconds)
            for folder, config in configs.items()
            if folder in results and results[folder].state.status is RunStatus.DONE
        ),
    )


def runs_at_once(resources: ResourcesConfig, cpus: float, gpus: float, limit: int | None = None) -> int:
    """How many runs Ray trains at the same time, at least 1.

    Args:
        resources: of a run; `gpus: auto` counts as a whole GPU.
        cpus, gpus: of the machine or cluster.
        limit: instead of `resources.max_concurrent`.
    """
    fits = cpus / resources.cpus
    if resources.on_gpu:
        fits = min(fits, gpus / (1.0 if resources.gpus == "auto" else resources.gpus))
    return max(1, int(min(fits, limit or resources.max_concurrent or math.inf)))


def undivided(resources: ResourcesConfig, threads: int) -> ResourcesConfig:
    """Resources of a run that shares no device: a whole GPU, or a CPU for each thread.

    Args:
        threads: CPU threads of a run.
    """
    if resources.on_gpu:
        return resources.model_copy(update={"gpus": 1.0, "cpus": max(resources.cpus, 1)})
    return resources.model_copy(update={"cpus": max(resources.cpus, threads)})


def wall_clock(seconds: Collection[float], at_once: int, shared: float = 0.0) -> float:
    """Seconds until all runs have ended, from the seconds of each: never less than the longest.

    Args:
        at_once: runs trained at the same time.
        shared: of the sum, seconds of steps that one run trains for another.
    """
    return max(max(seconds, default=0.0), (math.fsum(seconds) - shared) / max(1, at_once))
