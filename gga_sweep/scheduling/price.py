"""What a plan costs in device-seconds and on disk: arithmetic alone, from measured unit costs or finished runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gga_sweep.annealing.options import GGAL
from gga_sweep.datasets import DatasetDescription
from gga_sweep.records import FINAL, RunResult, RunState, RunStatus
from gga_sweep.scheduling.cost_model import learned_costs
from gga_sweep.scheduling.shared_steps import inherited_steps
from gga_sweep.spec.adaptive import unsuggested_runs
from gga_sweep.spec.models import ResourcesConfig, RunSpec
from gga_sweep.spec.plan import Outline, Plan, PlannedRun
from gga_sweep.spec.work import annealed_steps, evaluations
from gga_sweep.training.unit_costs import UnitCosts, form_of, holds_photographs, host_of

PHASES = ("training", "search", "diagnostics", "evaluation", "checkpoint")
"""Of a run's seconds. Finished runs do not tell the last: a ledger counts no seconds for checkpoints."""

Source = Literal["calibration", "finished runs"]


@dataclass(frozen=True, slots=True)
class ArmPrice:
    """One arm; a training job that two arms share counts in both.

    Args:
        arm: its name.
        jobs: its distinct training jobs.
        left: those of them that a launch would train.
        seconds: device-seconds of all its jobs, by each of `PHASES`.
        seconds_left: device-seconds of the jobs left; of one that was begun, its steps to come.
    """

    arm: str
    jobs: int
    left: int
    seconds: Mapping[str, float]
    seconds_left: float

    @property
    def total(self) -> float:
        """Device-seconds of all its jobs."""
        return math.fsum(self.seconds.values())

    @property
    def a_run(self) -> float:
        """Device-seconds of a job, on average."""
        return self.total / self.jobs


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes that a sweep takes, as far as they are known.

    Args:
        images: the decoded images, once for all sweeps of a storage; 0 where they are made in memory.
        selected: the selected weights of all runs; None if not measured.
        checkpoint: the checkpoint of one run in training; None if not measured.
    """

    images: int
    selected: int | None = None
    checkpoint: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What a plan costs.

    Args:
        source: where the seconds come from.
        device: whose seconds they are, in words.
        arms: in the plan's order.
        jobs: distinct training jobs.
        left: those of them that a launch would train.
        seconds: device-seconds of all jobs, each by itself.
        seconds_left: the same of the jobs left.
        shared: device-seconds of these on steps that another job left trains for it.
        longest: device-seconds of the longest of these; 0 without one.
        scaled: the arms of whose algorithm, or form of annealing, no run is done: scaled from others by their work.
        disk: bytes.
        remarks: what a reader must know, as sentences.
    """

    source: Source
    device: str
    arms: tuple[ArmPrice, ...]
    jobs: int
    left: int
    seconds: float
    seconds_left: float
    shared: float
    longest: float
    scaled: tuple[str, ...]
    disk: Disk
    remarks: tuple[str, ...] = ()

    def wall_clock(self, at_once: int) -> float:
        """Seconds until the jobs left are trained, so many at once: never less than the longest of them takes."""
        return max(self.longest, (self.seconds_left - self.shared) / at_once)


def price_of(plan: Outline, costs: UnitCosts, states: Mapping[str, RunState]) -> Price:
    """From a calibration: each run's price follows from its configuration.

    Args:
        costs: with every host and form of annealing that the plan's runs have.
        states: by folder, of the runs that were started.
    """
    dataset = plan.sweep.dataset
    jobs = jobs_of(plan)
    hosts = [costs.hosts[host_of(run.config, len(dataset.domain_sizes))] for run in jobs.values()]
    disk = Disk(
        images=decoded_bytes(dataset, plan.sweep.config.dataset.name),
        selected=sum(host.selected_bytes for host in hosts),
        checkpoint=max(host.checkpoint_bytes for host in hosts),
    )
    return _price(
        plan,
        {job: run_seconds(run.config, dataset, costs) for job, run in jobs.items()},
        lambda config, trained: run_seconds(config, dataset, costs, trained),
        states,
        "calibration",
        costs.device,
        disk,
        remarks=costs.remarks,
    )


def price_from_runs(plan: Plan, results: Mapping[str, RunResult], states: Mapping[str, RunState], device: str) -> Price:
    """From runs that went through all their steps: what they took, and what `cost_model` learns from them.

    Args:
        results: by folder, of at least one DONE run of the plan; what is none is not looked at.
        states: by folder, of the runs that were started.
        device: on which they ran, in words.
    """
    jobs, model = jobs_of(plan), learned_costs(plan, results)
    done = {
        job: results[folder].seconds
        for job, run in jobs.items()
        if (folder := run.folder) in results and results[folder].state.status is RunStatus.DONE
    }
    return _price(
        plan,
        {job: done.get(job) or model.seconds(run.config) for job, run in jobs.items()},
        model.seconds,
        states,
        "finished runs",
        device,
        Disk(images=decoded_bytes(plan.sweep.dataset, plan.sweep.config.dataset.name)),
        scaled={job for job, run in jobs.items() if not model.has_met(run.config)},
    )


def run_seconds(config: RunSpec, dataset: DatasetDescription, costs: UnitCosts, trained: int = 0) -> dict[str, float]:
    """Device-seconds of one run by phase.

    A search along the gradient counts with all its tries, and each annealed step as one that moved the weights: both
    can only cost less.

    Args:
        trained: steps done; what is left counts.
    """
    host = host_of(config, len(dataset.domain_sizes))
    of_host = costs.hosts[host]
    training, images = config.training, int(config.hyperparameters["batch_size"])
    steps, evaluated = max(0, training.steps - trained), evaluations(training, trained)
    seconds = {
        "training": steps * of_host.step.at(images),
        "search": 0.0,
        "diagnostics": 0.0,
        "evaluation": evaluated
        * math.fsum(
            size * (of_host.evaluated_image if name in config.test_domains else of_host.augmented_image)
            + of_host.probe * (1 if name in config.test_domains else 2)  # of a training domain, one a split
            for name, size in dataset.domain_sizes.items()
        ),
        "checkpoint": max(0, evaluated - 1) * of_host.checkpoint,  # none at the last step
    }
    if config.annealing is None:
        return seconds
    form = form_of(config.annealing)
    if isinstance(config.annealing, GGAL):
        return {**seconds, "training": steps * costs.noisy_steps[host, form].at(images)}
    search = costs.searches[host, form]
    annealed = annealed_steps(config, trained)
    candidates = annealed * config.annealing.num_candidates
    return {
        **seconds,
        "search": annealed * search.start.at(images) + candidates * search.candidate.at(images),
        "diagnostics": annealed * search.diagnostics.at(images),
    }


def decoded_bytes(dataset: DatasetDescription, name: str) -> int:
    """What the decoded images take on disk: a byte a pixel and channel; 0 for datasets that are made in memory.

    Args:
        name: of the dataset, as a sweep file writes it.
    """
    return sum(dataset.domain_sizes.values()) * math.prod(dataset.image_shape) if holds_photographs(name) else 0


def runs_at_once(resources: ResourcesConfig, threads: int, cpus: float, gpus: float) -> int:
    """How many runs a machine or cluster has devices for, at least 1.

    Runs that share a GPU, or have fewer CPUs than threads, do not get faster by it: whole devices are counted.

    Args:
        resources: of a run.
        threads: CPU threads of a run.
        cpus, gpus: of the machine or cluster.
    """
    fits = cpus / max(resources.cpus, 1 if resources.on_gpu else threads)
    if resources.on_gpu:
        fits = min(fits, gpus)
    return max(1, math.floor(min(fits, resources.max_concurrent or math.inf)))


def _price(
    plan: Outline,
    seconds: Mapping[str, Mapping[str, float]],
    seconds_from: Callable[[RunSpec, int], Mapping[str, float]],
    states: Mapping[str, RunState],
    source: Source,
    device: str,
    disk: Disk,
    *,
    scaled: Collection[str] = (),
    remarks: tuple[str, ...] = (),
) -> Price:
    """Sums over arms and jobs.

    Args:
        seconds: of every job.
        seconds_from: of a run, the steps done of which are given: what is left of it.
        states: by folder, of the runs that were started.
        scaled: jobs.
    """
    of_arms = {arm.name: list(jobs_of(plan, arm.name)) for arm in plan.sweep.arms}

    def left_of(config: RunSpec, trained: int) -> float:
        return math.fsum(seconds_from(config, trained).values())

    left = list(_left(jobs_of(plan), states))
    each_left = {job: left_of(config, trained) for job, config, trained in left}
    inherited = zip(left, inherited_steps(config for _, config, _ in left), strict=True)
    own = (left_of(config, max(trained, steps)) for (_, config, trained), steps in inherited)
    return Price(
        source=source,
        device=device,
        arms=tuple(_arm_price(arm, jobs, seconds, each_left) for arm, jobs in of_arms.items()),
        jobs=len(seconds),
        left=len(left),
        seconds=math.fsum(math.fsum(by_phase.values()) for by_phase in seconds.values()),
        seconds_left=math.fsum(each_left.values()),
        shared=math.fsum(each_left.values()) - math.fsum(own),
        longest=max(each_left.values(), default=0.0),
        scaled=tuple(arm for arm, jobs in of_arms.items() if not set(jobs).isdisjoint(scaled)),
        disk=disk,
        remarks=(*remarks, *_open_ended(plan)),
    )


def _open_ended(plan: Outline) -> Iterator[str]:
    """What the runs known today do not tell of a search that adapts."""
    if later := unsuggested_runs(plan):
        yield f"The {later} runs that are still to be suggested are not in this price."
    if plan.sweep.config.early_stopping is not None:
        yield "Runs are priced at their full length; early stopping will end some before."


def _arm_price(
    arm: str, jobs: Sequence[str], seconds: Mapping[str, Mapping[str, float]], left: Mapping[str, float]
) -> ArmPrice:
    waiting = [job for job in jobs if job in left]
    return ArmPrice(
        arm=arm,
        jobs=len(jobs),
        left=len(waiting),
        seconds={phase: math.fsum(seconds[job].get(phase, 0.0) for job in jobs) for phase in PHASES},
        seconds_left=math.fsum(left[job] for job in waiting),
    )


def jobs_of(plan: Outline, arm: str | None = None) -> dict[str, PlannedRun]:
    """The distinct training jobs, of one arm or of all."""
    jobs: dict[str, PlannedRun] = {}
    for run in plan.runs:
        if arm is None or run.cell.arm == arm:
            jobs.setdefault(run.key, run)
    return jobs


def _left(jobs: Mapping[str, PlannedRun], states: Mapping[str, RunState]) -> Iterator[tuple[str, RunSpec, int]]:
    """The jobs that a launch would train, with the steps of each that are done."""
    for job, run in jobs.items():
        state = _state(states, run.folder)
        if state.status not in FINAL:
            yield job, run.config, state.step + 1


def _state(states: Mapping[str, RunState], folder: str) -> RunState:
    return states.get(folder, RunState())
