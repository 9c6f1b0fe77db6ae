"""What Tune tells of a trial becomes a status in the ledger, a wake-up of the tracking, a number on the display."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from ray import tune
from ray.tune.experiment import Trial

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.planning import Contents, Plan, PlannedRun, Sweep, plan_sweep, searched_run
from gga_sweep.planning.prepare import prepare_ledger, require_writable
from gga_sweep.records import RunStatus
from gga_sweep.report.content import make_report
from gga_sweep.report.files import write_report
from gga_sweep.sweep.launch import CLOSE_SECONDS
from gga_sweep.sweep.progress import LaunchProgress
from gga_sweep.sweep.trainable import RUN, plain_values
from gga_sweep.tracking.location import resolve_tracking_uri
from gga_sweep.tracking.names import PROGRESS_STEP, VAL_ACCURACY
from gga_sweep.tracking.projector import Projector

logger = logging.getLogger(__name__)

_Method = TypeVar("_Method", bound=Callable[..., None])


def _never_raise(method: _Method) -> _Method:
    """An exception in a callback would end the whole experiment, or turn a finished trial into a failure."""

    @wraps(method)
    def guarded(*args: object, **kwargs: object) -> None:
        try:
            method(*args, **kwargs)
        except Exception:
            logger.exception("a callback of gga-sweep failed; the sweep goes on")

    return cast(_Method, guarded)


class SweepCallback(tune.Callback):  # type: ignore[misc]  # ray is untyped
    """Follows the trials of one sweep.

    Tune pickles callbacks when a `Tuner` is made; what is live (a thread, a display) stays out of the pickle.

    Args:
        plan: of the sweep.
        contents: digests it was planned with.
        projector: of this launch; None makes one when the experiment starts, and reports when it ends.
        progress: what the display shows; None for none.
    """

    def __init__(
        self,
        plan: Plan,
        contents: Contents,
        projector: Projector | None = None,
        progress: LaunchProgress | None = None,
    ) -> None:
        self._plan = plan
        self._contents = contents
        self._ledger = Ledger(plan.sweep.folder)
        self._runs = {run.key: run for run in plan.runs}
        self._owns_tracking = projector is None
        self._projector = projector
        self._progress = progress
        self._resolved: dict[str, PlannedRun] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_projector": None, "_progress": None}

    @_never_raise
    def setup(self, **info: Any) -> None:
        if self._owns_tracking and self._projector is None:
            sweep = self._plan.sweep
            uri = resolve_tracking_uri(sweep.storage, sweep.tracking_uri, os.environ)
            self._projector = Projector(self._plan, self._ledger, uri)

    @_never_raise
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        run = self._run_of(trial)
        if self._projector is not None and run.key not in self._runs:
            self._projector.add(run)
        if self._progress is not None and run.key is not None:
            self._progress.started(run.key)

    @_never_raise
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        run = self._run_of(trial)
        if self._progress is not None and run.key is not None:
            self._progress.reported(run.key, result[PROGRESS_STEP], result[VAL_ACCURACY])
        self._wake(run)

    @_never_raise
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Also called when a scheduler stops a trial: then the run has not ended by itself."""
        self._end(self._run_of(trial), RunStatus.STOPPED, "stopped early by a scheduler")

    @_never_raise
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        reason = str(trial.get_error() or "its actor was lost").strip().splitlines()[-1]
        self._end(self._run_of(trial), RunStatus.FAILED, reason)

    @_never_raise
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        if not self._owns_tracking or self._projector is None:
            return
        report = make_report(self._plan, self._ledger)
        paths = write_report(report, self._ledger)
        self._projector.close(CLOSE_SECONDS, report.table, tuple(paths.values()))

    def _end(self, run: PlannedRun, status: RunStatus, reason: str) -> None:
        folder = self._ledger.run(str(run.folder))
        state = folder.read_state()
        if state.status in (RunStatus.RUNNING, RunStatus.PREEMPTED):
            folder.mark(status, reason)
            state = folder.read_state()
        if self._progress is not None and run.key is not None:
            self._progress.ended_with(run.key, state.status)
        self._wake(run)

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
    """
    resolve_tracking_uri(sweep.storage, sweep.tracking_uri, os.environ)
    require_writable(sweep.storage)
    contents = prepare_ledger(sweep)
    return [SweepCallback(plan_sweep(sweep, contents), contents)]
