"""Tune callbacks: keep statuses in the ledger and the tracking up to date, in a launch and in a user's own Tuner."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

import ray.exceptions
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, PopulationBasedTrainingReplay

from gga_sweep.errors import Fault, InputError, StorageError, SweepOwnedError
from gga_sweep.execution.prepare import prepare_ledger, require_writable
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ray_backend.launch import START_SECONDS, Launch
from gga_sweep.ray_backend.ray_internals import (
    actor_id,
    error_of,
    forget_metrics,
    killed_actors,
    out_of_memory_error,
    running_scheduler,
)
from gga_sweep.ray_backend.sweep_end import end_sweep
from gga_sweep.ray_backend.trainable import plain_values
from gga_sweep.ray_backend.tune_names import PROGRESS_STEP, REFUSED, REMARKS, RUN, SUPERSEDED
from gga_sweep.records import RunState, RunStatus
from gga_sweep.scheduling.launch_progress import LaunchProgress
from gga_sweep.spec import Contents, Plan, PlannedRun, SweepSpec, plan_sweep, searched_run
from gga_sweep.tracking.names import val_key
from gga_sweep.tracking.projector import Projector
from gga_sweep.tracking.tracking_uri import resolve_tracking_uri

logger = logging.getLogger(__name__)

HOST_OUT_OF_MEMORY = "the memory of its machine was used up"
"""Why a run is OUT_OF_MEMORY that Ray's memory monitor killed."""

_Method = TypeVar("_Method", bound=Callable[..., None])


def _never_raise(method: _Method) -> _Method:
    """Log exceptions: in a callback they would end the experiment, or turn a finished trial into a failed one."""

    @wraps(method)
    def guarded(*args: object, **kwargs: object) -> None:
        try:
            method(*args, **kwargs)
        except (InputError, SweepOwnedError):
            raise
        except Exception:
            logger.exception("a callback of gga-sweep failed; the sweep continues")

    return cast(_Method, guarded)


class LaunchCallback(tune.Callback):  # type: ignore[misc]  # ray is untyped
    """Follows the trials of one wave of a launch.

    Args:
        runs: of the wave, by key; `add` adds one.
        ledger: of the sweep.
        launch: that the wave belongs to.
        progress: of the launch.
    """

    def __init__(
        self, runs: Mapping[str, PlannedRun], ledger: Ledger, launch: Launch, progress: LaunchProgress
    ) -> None:
        self._runs = dict(runs)
        self._ledger, self._launch, self._progress = ledger, launch, progress
        self.lost: set[str] = set()
        """Keys of the runs whose actors were lost too often."""
        self.actors: dict[str, str] = {}
        """Keys of the runs by the ids of their actors, as in Ray's messages."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return tune.Callback, ()  # Tune pickles its callbacks; we never restore them

    def add(self, run: PlannedRun) -> None:
        """Add a run before it is handed to Tune; one that the plan lacks is tracked and shown from now on."""
        key = run.key
        self._runs[key] = run
        if key not in self._progress.runs:
            self._launch.projector.add(run)
            self._progress.add(run)

    @_never_raise
    def setup(self, **info: Any) -> None:
        self._launch.signals.install()

    @_never_raise
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if self._launch.lease.reason is not None:
            return
        key = trial.config[RUN]
        self._progress.started(key)
        if (actor := actor_id(trial)) is not None:
            self.actors[actor] = key

    @_never_raise
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if REFUSED in result:  # no other run could be written either
            self._launch.lease.ask(result[REFUSED])
        _log_remarks(result)
        if PROGRESS_STEP in result:
            key = trial.config[RUN]
            validation = result.get(val_key(self._runs[key].config.metric), math.nan)
            self._progress.reported(key, result[PROGRESS_STEP], validation)
            self._wake(trial)

    @_never_raise
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        state = self._end(trial)
        forget_metrics(trial)
        if state.status is RunStatus.FAILED and self._launch.options.on_error == "stop":
            folder = self._runs[trial.config[RUN]].folder
            self._launch.lease.ask(f"run {folder} failed: {state.reason} (--on-error stop)")

    @_never_raise
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        error = error_of(trial)
        if self._launch.lease.is_newest():  # otherwise the run belongs to another launch
            _mark_error(self._ledger.run(self._runs[trial.config[RUN]].folder), error)
            if _is_lost_actor(error):
                self.lost.add(trial.config[RUN])
        self._end(trial)

    def _end(self, trial: Trial) -> RunState:
        key = trial.config[RUN]
        state = self._ledger.run(str(self._runs[key].folder)).read_state()
        self._progress.ended_with(key, state.status)
        self._wake(trial)
        return state

    def _wake(self, trial: Trial) -> None:
        self._launch.projector.wake(str(self._runs[trial.config[RUN]].folder))


class OwnTunerCallback(tune.Callback):  # type: ignore[misc]  # ray is untyped
    """Follows the trials of a user's own Tuner: owns and tracks the sweep during the experiment, reports at its end.

    Tune pickles callbacks when a `Tuner` is made. The pickle holds neither what is live (a thread, a lease) nor the
    tracking URI, which may hold a password.

    Args:
        plan: of the sweep.
        contents: digests that it was planned with.
    """

    def __init__(self, plan: Plan, contents: Contents) -> None:
        self._plan = plan
        self._contents = contents
        self._ledger = Ledger(plan.sweep.folder)
        self._planned = {(run.cell, run.key): run for run in plan.runs}
        self._runs_of_trials: dict[str, PlannedRun | None] = {}
        self._actors: dict[str, str] = {}  # the trials by the ids of their actors, as in Ray's messages
        self._projector: Projector | None = None
        self._experiment = ExitStack()

    def __getstate__(self) -> dict[str, Any]:
        plan = replace(self._plan, sweep=replace(self._plan.sweep, tracking_uri=None))
        return {**self.__dict__, "_plan": plan, "_projector": None, "_experiment": ExitStack()}

    @_never_raise
    def setup(self, **info: Any) -> None:
        if isinstance(running_scheduler(), PopulationBasedTraining | PopulationBasedTrainingReplay):
            rule = "must leave the configurations of trials alone, such as ASHAScheduler(time_attr='step')"
            raise InputError([Fault("scheduler", rule, type(running_scheduler()).__name__)], "tune.TuneConfig")
        if self._projector is None:
            self._experiment.enter_context(held(self._ledger.store))
            sweep = self._plan.sweep
            uri = resolve_tracking_uri(sweep.storage, sweep.tracking_uri, os.environ)
            started = set(self._ledger.run_names())
            plan = replace(self._plan, runs=tuple(run for run in self._plan.runs if run.folder in started))
            projector = Projector(plan, self._ledger, uri, lull=START_SECONDS)
            self._projector = self._experiment.enter_context(projector)

    @_never_raise
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if (actor := actor_id(trial)) is not None:
            self._actors[actor] = trial.trial_id
        if self._projector is not None and (run := self._run_of(trial)) is not None:
            self._projector.add(run)

    @_never_raise
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        _log_remarks(result)
        if PROGRESS_STEP in result:
            self._wake(trial)

    @_never_raise
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Also called when a scheduler stops a trial, whose run has not ended by itself then."""
        folder = self._folder_trained_by(trial)
        if folder is not None and _is_stopped_early(folder.read_state().status, trial.last_result):
            folder.mark(RunStatus.STOPPED, "stopped early by a scheduler")
            folder.delete_checkpoint()
        self._wake(trial)

    @_never_raise
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        folder = self._folder_trained_by(trial)
        if folder is not None and folder.read_state().status is RunStatus.RUNNING:  # else the run wrote its reason
            _mark_error(folder, error_of(trial))
        self._wake(trial)

    @_never_raise
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        ended_by = sys.exc_info()[1]  # Tune calls this while it handles the error that ended the experiment
        if isinstance(ended_by, RuntimeError) and (error := out_of_memory_error(ended_by)) is not None:
            self._mark_killed(trials, error)
        if self._projector is not None:
            with self._experiment:
                end_sweep(self._plan, self._ledger, self._projector)

    def _mark_killed(self, trials: list[Trial], error: Exception) -> None:
        """Mark the runs whose actors Ray's memory monitor killed, which Tune takes for an error of its own."""
        killed = {self._actors[actor] for actor in killed_actors(error) if actor in self._actors}
        for trial in trials:
            folder = self._folder_trained_by(trial) if trial.trial_id in killed else None
            if folder is not None and folder.read_state().status is RunStatus.RUNNING:
                folder.mark(RunStatus.OUT_OF_MEMORY, HOST_OUT_OF_MEMORY)
                self._wake(trial)

    def _wake(self, trial: Trial) -> None:
        if self._projector is not None and (run := self._run_of(trial)) is not None:
            self._projector.wake(run.folder)

    def _folder_trained_by(self, trial: Trial) -> RunFolder | None:
        """The run's folder, if its newest attempt is this trial's. Other trials of the run must not mark it."""
        run = self._run_of(trial)
        if run is None:
            return None
        folder = self._ledger.run(run.folder)
        owner = folder.read_trial(folder.newest_attempt())
        return folder if owner is not None and owner.endswith(f" {trial.trial_id}") else None

    def _run_of(self, trial: Trial) -> PlannedRun | None:
        """The run of a trial; None if its configuration is none of the sweep's, which the trial itself reports."""
        if trial.trial_id not in self._runs_of_trials:
            found = None
            with suppress(InputError):
                found = searched_run(self._plan.sweep, self._contents, plain_values(trial.config))
                found = self._planned.get((found.cell, found.key), found)
            self._runs_of_trials[trial.trial_id] = found
        return self._runs_of_trials[trial.trial_id]


def callbacks(sweep: SweepSpec) -> list[tune.Callback]:
    """Callbacks for your own `tune.Tuner`: they keep statuses, track in MLflow and write the report at the end.

    Args:
        sweep: from `gga_sweep.load`.

    Raises:
        InputError: the dataset is missing, or the tracking URI is malformed.
        SweepOwnedError: when the experiment starts, if another live launch owns the sweep.
    """
    resolve_tracking_uri(sweep.storage, sweep.tracking_uri, os.environ)
    require_writable(sweep.storage)
    contents = prepare_ledger(sweep)
    return [OwnTunerCallback(plan_sweep(sweep, contents), contents)]


def _log_remarks(result: Mapping[str, Any]) -> None:
    for remark in result.get(REMARKS, "").splitlines():
        logger.warning(remark)


def _is_lost_actor(error: Exception | None) -> bool:
    """Whether the actor was lost. Ray's memory monitor ends actors too; its error is of another type."""
    return isinstance(error, ray.exceptions.RayActorError) and not error.actor_init_failed


def _mark_error(folder: RunFolder, error: Exception | None) -> None:
    """Write the status of a run whose trial raised an error; none can be written after an error of the storage."""
    lines = str(error or "").strip().splitlines() or [""]
    if isinstance(error, StorageError):
        return
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        folder.mark(RunStatus.OUT_OF_MEMORY, HOST_OUT_OF_MEMORY)
    elif _is_lost_actor(error):
        folder.mark(RunStatus.FAILED, f"its actor was lost repeatedly: {lines[0]}")
    else:
        folder.mark(RunStatus.FAILED, lines[-1] or "its trial failed")


def _is_stopped_early(status: RunStatus, last_result: Mapping[str, Any]) -> bool:
    """Whether a scheduler ended a trial, rather than its run itself or a process that took the run over."""
    if last_result.get(SUPERSEDED):
        return False
    return status is RunStatus.RUNNING or (status is RunStatus.PREEMPTED and not last_result.get("done"))
