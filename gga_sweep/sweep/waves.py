"""Training on Ray Tune in waves: all that is left, then once more, with other resources, what that may cure."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import ray
from ray import tune
from rich.console import Console

from gga_sweep.errors import GGASweepError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.planning import Contents, Plan, PlannedRun, Sweep
from gga_sweep.records import FINAL, RunStatus
from gga_sweep.sweep.callbacks import SweepCallback
from gga_sweep.sweep.display import Display
from gga_sweep.sweep.options import LaunchOptions
from gga_sweep.sweep.progress import LaunchProgress
from gga_sweep.sweep.trainable import RUN, bind_trainable
from gga_sweep.tracking.environment import ENVIRONMENT
from gga_sweep.tracking.projector import Projector

LOST_ACTORS = 3
"""How often a run is taken up again in one wave after its actor or node was lost."""

_ENDED = FINAL | {RunStatus.FAILED, RunStatus.OUT_OF_MEMORY}


def train(
    plan: Plan,
    contents: Contents,
    left: Mapping[str, PlannedRun],
    final: Mapping[str, RunStatus],
    projector: Projector,
    options: LaunchOptions,
    console: Console,
) -> bool:
    """Train what is left of a plan, wave after wave.

    Args:
        left: the runs to train, by key.
        final: the statuses of those that need no training.

    Returns:
        Whether it was interrupted before its end.

    Raises:
        GGASweepError: there is no Ray cluster at the address.
    """
    ledger = Ledger(plan.sweep.folder)
    progress = LaunchProgress({run.key: run for run in plan.runs if run.key is not None}, final)
    callback = SweepCallback(plan, contents, projector, progress)
    with _cluster(options.address), Display(progress, console), _stop_signals() as stopped:
        progress.concurrent = _concurrency(plan.sweep, options)
        _wave(plan.sweep, contents, left, callback, options)
        crowded_out = {key: run for key, run in left.items() if _status(ledger, run) is RunStatus.OUT_OF_MEMORY}
        if crowded_out and not stopped:
            _wave(_alone(plan.sweep), contents, crowded_out, callback, replace(options, max_concurrent=1))
    return bool(stopped) or any(_status(ledger, run) not in _ENDED for run in left.values())


def _wave(
    sweep: Sweep,
    contents: Contents,
    runs: Mapping[str, PlannedRun],
    callback: SweepCallback,
    options: LaunchOptions,
) -> None:
    """Train these runs, each once, those that take longest first."""
    keys = sorted(runs, key=lambda key: -_relative_cost(runs[key]))
    folder = sweep.folder / "tune"
    tuner = tune.Tuner(
        bind_trainable(sweep, contents, runs),
        param_space={RUN: tune.grid_search(keys)},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=options.max_concurrent or sweep.config.resources.max_concurrent, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name=f"wave-{os.getpid()}",
            storage_path=str(folder),
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=LOST_ACTORS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    tuner.fit()
    shutil.rmtree(folder, ignore_errors=True)  # never restored from: the ledger is the truth


def _relative_cost(run: PlannedRun) -> float:
    """In training steps; a point is scored at about the price of one."""
    annealing, steps = run.config.annealing or {}, run.config.training.steps
    if annealing.get("alpha") == "adaptive":  # GGA-L: scored once at every step
        return 2 * steps
    return steps + int(annealing.get("num_steps", 0)) * (1 + int(annealing.get("num_candidates", 0)))


def _alone(sweep: Sweep) -> Sweep:
    """The sweep with a whole device for each run: what cures a lack of memory, if anything does."""
    resources = sweep.config.resources
    whole = resources.model_copy(update={"gpus": 1 if resources.gpus else 0, "max_concurrent": 1})
    return replace(sweep, config=sweep.config.model_copy(update={"resources": whole}))


def _concurrency(sweep: Sweep, options: LaunchOptions) -> int:
    """Runs at once, for the estimate of the time left."""
    resources, available = sweep.config.resources, ray.cluster_resources()
    fits = available.get("CPU", 1) / resources.cpus
    if resources.gpus:
        fits = min(fits, available.get("GPU", 0) / resources.gpus)
    limit = options.max_concurrent or resources.max_concurrent
    return max(1, min(int(fits), limit) if limit else int(fits))


def _status(ledger: Ledger, run: PlannedRun) -> RunStatus:
    return ledger.run(str(run.folder)).read_state().status


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """The Ray that is up, the cluster at an address, or one of this launch's own.

    Raises:
        GGASweepError: there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    try:
        if address is None:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        else:
            ray.init(address, log_to_driver=False, runtime_env={"env_vars": dict(ENVIRONMENT)})
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise GGASweepError(f"cannot join a Ray cluster at {address}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _stop_signals() -> Iterator[Sequence[int]]:
    """Let SIGTERM stop a sweep as gracefully as SIGINT does; what was caught stands in the list."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def stop(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.raise_signal(signal.SIGINT)  # which Tune catches

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGTERM, before)
