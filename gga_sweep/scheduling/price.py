"""What a plan costs in device-seconds and on disk: sums of an estimate over arms and jobs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gga_sweep.records import FINAL, RunResult, RunState, RunStatus
from gga_sweep.scheduling.estimate import Estimate, wall_clock
from gga_sweep.scheduling.shared_steps import inherited_steps
from gga_sweep.spec.adaptive_search import unsuggested_runs
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.plan import Outline, PlannedRun


@dataclass(frozen=True, slots=True)
class ArmPrice:
    """The price of one arm; a training job that two arms share counts in both.

    Args:
        arm: its name.
        jobs: its distinct training jobs.
        seconds: device-seconds of all its jobs, by phase.
        seconds_left: device-seconds of the jobs left; of one that was begun, its steps to come.
        scaled: whether no run of its algorithm and form of annealing was measured.
    """

    arm: str
    jobs: int
    seconds: Mapping[str, float]
    seconds_left: float
    scaled: bool

    @property
    def total(self) -> float:
        """Device-seconds of all its jobs."""
        return math.fsum(self.seconds.values())

    @property
    def a_run(self) -> float:
        """Device-seconds of a job, on average."""
        return self.total / self.jobs


@dataclass(frozen=True, slots=True)
class Price:
    """What a plan costs.

    Args:
        arms: in the plan's order.
        jobs: distinct training jobs.
        seconds: device-seconds of all jobs, each by itself.
        left: device-seconds of each job that a launch would train.
        shared: device-seconds of these on steps that another of these jobs trains for it.
        remarks: what the estimate does not include, as sentences.
    """

    arms: tuple[ArmPrice, ...]
    jobs: int
    seconds: float
    left: tuple[float, ...]
    shared: float
    remarks: tuple[str, ...] = ()

    @property
    def seconds_left(self) -> float:
        """Device-seconds of the jobs left, each by itself."""
        return math.fsum(self.left)

    def wall_clock(self, at_once: int) -> float:
        """Seconds until the jobs left are trained, so many at once."""
        return wall_clock(self.left, at_once, self.shared)


def price_of(
    plan: Outline, estimate: Estimate, states: Mapping[str, RunState], results: Mapping[str, RunResult] | None = None
) -> Price:
    """What a plan costs.

    Args:
        states: by folder, of the runs that were started.
        results: by folder; DONE runs among them cost what they took.
    """
    jobs = jobs_of(plan)
    seconds = {job: _spent(run, results or {}) or estimate.seconds(run.config) for job, run in jobs.items()}
    waiting = list(_left(jobs, states))
    left = {job: estimate.total(config, trained) for job, config, trained in waiting}
    inherited = inherited_steps(config for _, config, _ in waiting)
    own = (
        estimate.total(config, max(trained, steps))
        for (_, config, trained), steps in zip(waiting, inherited, strict=True)
    )
    return Price(
        arms=tuple(_arm_price(arm.name, jobs_of(plan, arm.name), estimate, seconds, left) for arm in plan.sweep.arms),
        jobs=len(jobs),
        seconds=math.fsum(math.fsum(by_phase.values()) for by_phase in seconds.values()),
        left=tuple(left.values()),
        shared=math.fsum(left.values()) - math.fsum(own),
        remarks=tuple(_open_ended(plan)),
    )


def jobs_of(plan: Outline, arm: str | None = None) -> dict[str, PlannedRun]:
    """The distinct training jobs, of one arm or of all."""
    jobs: dict[str, PlannedRun] = {}
    for run in plan.runs:
        if arm is None or run.cell.arm == arm:
            jobs.setdefault(run.key, run)
    return jobs


def _arm_price(
    arm: str,
    jobs: Mapping[str, PlannedRun],
    estimate: Estimate,
    seconds: Mapping[str, Mapping[str, float]],
    left: Mapping[str, float],
) -> ArmPrice:
    phases = {phase for job in jobs for phase in seconds[job]}
    return ArmPrice(
        arm=arm,
        jobs=len(jobs),
        seconds={phase: math.fsum(seconds[job].get(phase, 0.0) for job in jobs) for phase in phases},
        seconds_left=math.fsum(left.get(job, 0.0) for job in jobs),
        scaled=not all(estimate.covers(run.config) for run in jobs.values()),
    )


def _spent(run: PlannedRun, results: Mapping[str, RunResult]) -> Mapping[str, float] | None:
    """What a DONE run took; None of any other."""
    result = results.get(run.folder)
    return result.seconds if result is not None and result.state.status is RunStatus.DONE else None


def _left(jobs: Mapping[str, PlannedRun], states: Mapping[str, RunState]) -> Iterator[tuple[str, RunSpec, int]]:
    """The jobs that a launch would train, with the steps of each that are done."""
    for job, run in jobs.items():
        state = states.get(run.folder, RunState())
        if state.status not in FINAL:
            yield job, run.config, state.step + 1


def _open_ended(plan: Outline) -> Iterator[str]:
    """What the price does not include of adaptive search and early stopping."""
    if later := unsuggested_runs(plan):
        yield f"The {later} runs that are still to be suggested are not in this price."
    if plan.sweep.config.early_stopping is not None:
        yield "Runs are priced at their full length; early stopping will end some before."
