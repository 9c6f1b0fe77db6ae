"""What Tune tells of a trial becomes a status in the ledger, a wake-up of the tracking, a number on the display."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

import ray.exceptions
from ray import tune
from ray.tune.experiment import Trial

from gga_sweep.errors import StorageError, SweepOwnedError
from gga_sweep.execution.prepare import prepare_ledger, require_writable
from gga_sweep.ledger.lease import Lease, held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ray_backend.launch import CLOSE_SECONDS, START_SECONDS
from gga_sweep.ray_backend.options import LaunchOptions
from gga_sweep.ray_backend.progress import LaunchProgress
from gga_sweep.ray_backend.signals import StopSignals
from gga_sweep.ray_backend.trainable import REFUSED, REMARKS, RUN, SUPERSEDED, plain_values
from gga_sweep.records import RunStatus
from gga_sweep.report.content import make_report
from gga_sweep.report.files import write_report
from gga_sweep.spec import Contents, Plan, PlannedRun, Sweep, plan_sweep, searched_run
from gga_sweep.tracking.location import resolve_tracking_uri
from gga_sweep.tracking.names import PROGRESS_STEP, VAL_ACCURACY
from gga_sweep.tracking.projector import Projector

logger = logging.getLogger(__name__)

HOST_OUT_OF_MEMORY = "the memory of its host was used up"
"""Why a run is OUT_OF_MEMORY that Ray's memory monitor killed."""

_Method = TypeVar("_Method", bound=Callable[..., None])


def _never_raise(method: _Method) -> _Method:
    """An exception in a callback would end the whole experiment, or turn a finished trial into a failure."""

    @wraps(method)
    def guarded(*args: object, **kwargs: object) -> None:
        try:
            method(*args, **kwargs)
        except SweepOwnedError:
            raise
        except Exception:
            logger.exception("a callback of gga-sweep failed; the sweep goes on")

    return cast(_Method, guarded)


def _stopped_early(status: RunStatus, last_result: Mapping[str, Any]) -> bool:
    """Whether a scheduler ended a trial, rather than its run itself or whoever took the run over."""
    if last_result.get(SUPERSEDED):
        return False
    return status is RunStatus.RUNNING or (status is RunStatus.PREEMPTED and not last_result.get("done"))


class Launch:
    """What a launch of ours brings to its callback: all that is live, and stays out of pickles.

    Args:
        lease: of the sweep.
        projector: of this launch.
        progress: what the display shows.
        signals: heard during the launch.
        options: how it was launched.
    """

    def __init__(
        self,
        lease: Lease,
        projector: Projector,
        progress: LaunchProgress,
        signals: StopSignals,
        options: LaunchOptions,
    ) -> None:
        self.lease = lease
        self.projector = projector
        self.progress = progress
        self.signals = signals
        self.options = options
        self.lost: set[str] = set()
        """Keys of the runs whose actors were lost too often."""
        self.actors: dict[str, str] = {}
        """By the number of a trial actor, as Ray's messages have it: the key of the run that it trains."""


class SweepCallback(tune.Callback):  # type: ignore[misc]  # ray is untyped
    """Follows the trials of one sweep.

    Tune pickles callbacks when a `Tuner` is made; what is live (a thread, a display) stays out of the pickle, and so
    does the tracking URI, which may hold a password.

    Args:
        plan: of the sweep.
        contents: digests it was planned with.
        launch: of ours; None for a user's own Tuner: then the callback itself holds the sweep and tracks it from the
            experiment's start to its end, and reports.
    """

    def __init__(self, plan: Plan, contents: Contents, launch: Launch | None = None) -> None:
        self._plan = plan
        self._contents = contents
        self._ledger = Ledger(plan.sweep.folder)
        self._runs = {run.key: run for run in plan.runs}
        self._launch = launch
        self._projector = None if launch is None else launch.projector
        self._until_the_end = ExitStack()
        self._resolved: dict[str, PlannedRun] = {}

    def __getstate__(self) -> dict[str, Any]:
        plan = replace(self._plan, sweep=replace(self._plan.sweep, tracking_uri=None))
        live = {"_launch": None, "_projector": None, "_until_the_end": ExitStack()}
        return {**self.__dict__, "_plan": plan, **live}

    def add(self, run: PlannedRun) -> None:
        """A run that was not planned when the wave began."""
        if run.key in self._runs:
            return
        self._runs[run.key] = run
        if self._projector is not None:
            self._projector.add(run)
        if self._launch is not None:
            self._launch.progress.add(run)

    @_never_raise
    def setup(self, **info: Any) -> None:
        if self._launch is not None:
            self._launch.signals.listen()
        elif self._projector is None:
            self._until_the_end.enter_context(held(self._ledger.store))
            sweep = self._plan.sweep
            uri = resolve_tracking_uri(sweep.storage, sweep.tracking_uri, os.environ)
            self._projector = self._until_the_end.enter_context(
                Projector(self._plan, self._ledger, uri, lull=START_SECONDS)
            )

    @_never_raise
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        run = self._run_of(trial)
        if self._projector is not None and run.key not in self._runs:
            self._projector.add(run)
        if self._launch is not None and run.key is not None and self._launch.lease.reason is None:
            self._launch.progress.started(run.key)
            if (actor := trial.temporary_state.ray_actor) is not None:
                self._launch.actors[actor._actor_id.hex()] = run.key

    @_never_raise
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        run = self._run_of(trial)
        if self._launch is not None and REFUSED in result:  # no other run could be written either
            self._launch.lease.ask(result[REFUSED])
        for remark in result.get(REMARKS, "").splitlines():
            logger.warning(remark)
        if PROGRESS_STEP not in result:
            return  # it was never opened
        if self._launch is not None and run.key is not None:
            self._launch.progress.reported(run.key, result[PROGRESS_STEP], result[VAL_ACCURACY])
        self._wake(run)

    @_never_raise
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Also called when a scheduler of a user's own Tuner stops a trial: then the run has not ended by itself."""
        run = self._run_of(trial)
        folder = self._ledger.run(str(run.folder))
        state = folder.read_state()
        if self._launch is None and _stopped_early(state.status, trial.last_result):
            folder.mark(RunStatus.STOPPED, "stopped early by a scheduler")
            folder.delete_checkpoint()
        self._ended(run)
        if self._launch is not None:
            _forget_metrics(trial)
        if state.status is RunStatus.FAILED:
            self._stop_on_error(f"run {run.folder} failed: {state.reason} (--on-error stop)")

    @_never_raise
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        run, error = self._run_of(trial), trial.get_pickled_error()
        folder, said = self._ledger.run(str(run.folder)), str(error or "").strip().splitlines() or [""]
        if isinstance(error, StorageError) or not self._is_ours():
            pass  # nothing can be written, or the run is another launch's
        elif isinstance(error, ray.exceptions.OutOfMemoryError):
            folder.mark(RunStatus.OUT_OF_MEMORY, HOST_OUT_OF_MEMORY)
        elif isinstance(error, ray.exceptions.RayActorError):
            if self._launch is not None and run.key is not None:
                self._launch.lost.add(run.key)
            folder.mark(RunStatus.FAILED, f"its actor was lost again and again: {said[0]}")
        else:
            folder.mark(RunStatus.FAILED, said[-1] or "its trial failed")
        self._ended(run)

    @_never_raise
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        if self._launch is not None or self._projector is None:
            return
        with self._until_the_end:
            report = make_report(self._plan, self._ledger)
            paths = write_report(report, self._ledger)
            self._projector.close(CLOSE_SECONDS, report.table, [path.name for path in paths.values()])

    def _ended(self, run: PlannedRun) -> None:
        status = self._ledger.run(str(run.folder)).read_state().status
        if self._launch is not None and run.key is not None:
            self._launch.progress.ended_with(run.key, status)
        self._wake(run)

    def _is_ours(self) -> bool:
        return self._launch is None or self._launch.lease.is_newest()

    def _stop_on_error(self, reason: str) -> None:
        if self._launch is not None and self._launch.options.on_error == "stop":
            self._launch.lease.ask(reason)

    def _wake(self, run: PlannedRun) -> None:
        if self._projector is not None and run.folder is not None:
            self._projector.wake(run.folder)

    def _run_of(self, trial: Trial) -> PlannedRun:
        if RUN in trial.config:
            return self._runs[trial.config[RUN]]
        if trial.trial_id not in self._resolved:
            configuration: Mapping[str, Any] = plain_values(trial.config)
            self._resolved[trial.trial_id] = searched_run(self._plan.sweep, self._contents, configuration)
        return self._resolved[trial.trial_id]


def callbacks(sweep: Sweep) -> list[tune.Callback]:
    """Callbacks for your own `tune.Tuner`: they keep statuses, track in MLflow and write the report at the end.

    Raises:
        InputError: the dataset is not there, or the tracking URI is malformed.
        SweepOwnedError: when the experiment starts, if another live launch owns the sweep.
    """
    resolve_tracking_uri(sweep.storage, sweep.tracking_uri, os.environ)
    require_writable(sweep.storage)
    contents = prepare_ledger(sweep)
    return [SweepCallback(plan_sweep(sweep, contents), contents)]


def _forget_metrics(trial: Trial) -> None:
    """Tune keeps statistics of every metric of every trial, some 30 KiB a trial; a launch reads the ledger."""
    trial.run_metadata.metric_analysis, trial.run_metadata.metric_n_steps = {}, {}
