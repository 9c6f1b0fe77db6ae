"""The trial actor: trains one run of a sweep, slice by slice, as a Ray Tune trainable."""

from __future__ import annotations

import hashlib
import math
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from gga_sweep.process_state import collection_paused

with collection_paused():  # PyTorch: a third of a second of CPU time less at the start of each actor
    from gga_sweep.execution.open_run import open_run
from gga_sweep.errors import AttemptSupersededError, Fault, GGASweepError, InputError, StorageError
from gga_sweep.execution.network_check import require_networks
from gga_sweep.execution.prepare import decode_images, prepare_ledger, require_writable
from gga_sweep.execution.recorded_run import (
    SLICE_SECONDS,
    FailedRun,
    Progress,
    ReasonToEnd,
    RecordedRun,
    RecordingOptions,
)
from gga_sweep.ledger.lease import LAUNCHES, StopNotice, newest_holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import UNBRANCHED, Branching
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.searched_runs import keep_searched
from gga_sweep.metrics import SELECTING
from gga_sweep.ray_backend.ray_internals import REGISTRY, STAY_IN_FOLDER
from gga_sweep.ray_backend.tune_names import (
    KEY,
    NEXT,
    PROGRESS_STEP,
    REFUSED,
    REMARKS,
    RUN,
    STEP,
    SUPERSEDED,
)
from gga_sweep.records import FINAL, Cell, RunResult, RunStatus, ValidationRecord
from gga_sweep.scheduling.next_runs import EndedEarly, NextRun
from gga_sweep.spec import Contents, PlannedRun, SweepSpec, searched_run
from gga_sweep.spec.runs import check_names, suggested_run
from gga_sweep.tracking.names import val_key, validation_metrics

_KEY_FILE = "key"

_UNKNOWN = {val_key(metric): math.nan for metric in SELECTING}
"""In place of metrics before the first evaluation."""

_LOOK_SECONDS = 1.0
"""Between two looks at a run that another trial trains."""

_ABANDONED_SECONDS = 1800.0
"""A run without progress for so long is trained by the trial that waits for it. Only without our callbacks is the loss
of the other trial's actor not written into the ledger."""


class RunTrainable(tune.Trainable):  # type: ignore[misc]  # ray is untyped
    """Trains the run that a trial's configuration names. One Tune step is one slice.

    Several trials of a user's own Tuner may name one run: one trains it, the others report what it records.

    The ledger holds the run's state. A Tune checkpoint holds only the run's key, to detect schedulers that exchange the
    configurations of trials.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        os.environ.setdefault(STAY_IN_FOLDER, "0")  # this process is an actor of ours
        super().__init__(*args, **kwargs)

    def setup(
        self,
        config: dict[str, Any],
        *,
        sweep: SweepSpec,
        contents: Contents,
        runs: Mapping[str, PlannedRun],
        launch: int | None = None,
        recording: RecordingOptions | None = None,
        experiment: str = "",
    ) -> None:
        self._sweep = sweep
        self._contents = contents
        self._runs = runs
        self._ledger = Ledger(sweep.folder)
        self._in_launch = launch is not None
        self._reason_to_stop = _never_stop if launch is None else StopNotice(self._ledger.store, LAUNCHES, launch)
        self._recording = recording or RecordingOptions()
        if sweep.config.tracking.system_metrics:
            from gga_sweep.tracking.system_metrics import SystemMetrics  # loads MLflow

            self._recording = replace(self._recording, measure=SystemMetrics())
        self._experiment = experiment
        if launch is None and (holder := newest_holder(self._ledger.store, LAUNCHES)) is not None:
            self._experiment += f"-{holder.number}"  # `callbacks` takes a number for each `fit`
        self._tainted = False
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if self._tainted:
            raise RuntimeError("a process must not be reused after a device error")
        self._leave()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if self._fault is not None:
            raise self._fault
        if self._run is None and self._reason_to_stop() is not None:
            return {"done": True}  # the launch stops; the run stays queued
        try:
            return self._result(self._advance())
        except AttemptSupersededError:
            return self._superseded()
        except StorageError as error:
            if not self._in_launch:
                raise
            return {**self._last_result, "done": True, REFUSED: str(error)}  # Tune would only retry it

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        if self._run is not None:
            self._run.save_checkpoint()
        (Path(checkpoint_dir) / _KEY_FILE).write_text(self._planned.key)  # Tune would pickle a dictionary

    def load_checkpoint(self, checkpoint: str) -> None:
        key = (Path(checkpoint) / _KEY_FILE).read_text()
        if key != self._planned.key:
            raise GGASweepError(
                "a scheduler changed the configuration of a running trial, and with it the run's key "
                f"({key[:8]} became {self._planned.key[:8]}). Population based training does that; "
                "use a scheduler that leaves configurations alone, such as ASHAScheduler(time_attr='step')"
            )

    def cleanup(self) -> None:
        self._leave()

    def _begin(self, config: Mapping[str, Any]) -> None:
        """Choose the run. The first step opens it: until then the trial may be cancelled."""
        self._reason_to_end: ReasonToEnd = _never_end
        self._branching = UNBRANCHED
        if NEXT in config:
            following = config[NEXT]
            self._reason_to_end = EndedEarly(
                dict(following["cutoffs"]), following["first_step"], self._sweep.config.metric
            )
            self._branching = Branching(tuple(following["start"]), dict(following["left"]))
        self._fault: GGASweepError | None = None
        try:
            self._planned = self._resolve(plain_values(config))
        except GGASweepError as error:  # here Tune would take it for the loss of the actor
            self._fault = error
        self._searched = RUN not in config
        if not self._in_launch:
            self._recording = replace(self._recording, trial=f"{self._experiment} {self.trial_id}")
        self._seen: object = None
        self._seen_at = time.monotonic()
        self._run: RecordedRun | FailedRun | None = None
        self._last_result: dict[str, Any] = {}
        self._remarked = 0

    def _resolve(self, config: dict[str, Any]) -> PlannedRun:
        if NEXT in config:
            return _planned_in(self._sweep, self._contents, config[NEXT])
        if RUN in config:
            return self._runs[config[RUN]]
        return searched_run(self._sweep, self._contents, config)

    def _advance(self) -> Progress:
        folder = self._ledger.run(self._planned.folder)
        if self._run is None:
            stored = folder.read_result()
            state = stored.state
            if state.status in FINAL:
                return self._replay(stored)
            if not self._in_launch and self._trained_by_another_trial(folder, stored):
                return self._follow(folder)
            if self._searched:
                keep_searched(self._ledger, self._planned)
            try:
                self._run = open_run(
                    self._planned,
                    self._ledger,
                    self._sweep.storage,
                    self._contents.dataset,
                    self._sweep.config.resources.on_gpu,
                    self._recording,
                    self._reason_to_stop,
                    self._reason_to_end,
                    self._branching,
                    self._sweep.config.resources.data_workers,
                )
            except (AttemptSupersededError, StorageError):
                raise
            except GGASweepError as error:  # a retry would fail likewise
                folder.mark(RunStatus.FAILED, str(error))
                return Progress(RunStatus.FAILED, state.step, None, str(error))
        progress = self._run.advance()
        self._tainted = self._sweep.config.resources.on_gpu and progress.status in (
            RunStatus.FAILED,
            RunStatus.OUT_OF_MEMORY,
        )
        return progress

    def _replay(self, stored: RunResult) -> Progress:
        """Report the evaluations of a final run, one a step, so that a scheduler sees a curve."""
        validation, ended = self._next_validation(stored), len(self._unreported(stored)) <= 1
        step = validation.step if validation else stored.state.step
        return Progress(stored.state.status if ended else RunStatus.RUNNING, step, validation, stored.state.reason)

    def _unreported(self, stored: RunResult) -> list[ValidationRecord]:
        reported = self._last_result.get(STEP, -1)
        return [record.validation for record in stored.records if record.step > reported]

    def _next_validation(self, stored: RunResult) -> ValidationRecord | None:
        """The first evaluation that was not reported yet, else the last one."""
        records = [record.validation for record in stored.records[-1:]]
        return next(iter((*self._unreported(stored), *records)), None)

    def _trained_by_another_trial(self, folder: RunFolder, stored: RunResult) -> bool:
        """Whether the newest attempt is one of another trial of this experiment, and goes on."""
        state, attempt = stored.state, folder.newest_attempt()
        if not self._is_of_another_trial(folder, attempt):
            return False
        if state.attempt == attempt and state.status is not RunStatus.RUNNING:
            return False  # it has ended
        seen = attempt, state, len(stored.records)
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        return time.monotonic() - self._seen_at < _ABANDONED_SECONDS

    def _is_of_another_trial(self, folder: RunFolder, attempt: int) -> bool:
        owner = folder.read_trial(attempt)
        return owner is not None and owner != self._recording.trial and owner.startswith(f"{self._experiment} ")

    def _follow(self, folder: RunFolder) -> Progress:
        """Wait for the next evaluation of the run that another trial trains, for the length of a slice at most."""
        deadline = time.monotonic() + SLICE_SECONDS
        while True:
            stored = folder.read_result()
            if self._unreported(stored) or not self._trained_by_another_trial(folder, stored):
                break
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_SECONDS)
        return Progress(RunStatus.RUNNING, stored.state.step, self._next_validation(stored))

    def _superseded(self) -> dict[str, Any]:
        """The result of a trial whose run a newer attempt trains: it goes on, unless that attempt is a launch's."""
        self._run = None
        if self._in_launch:
            return {**self._last_result, "done": True, SUPERSEDED: True}
        folder = self._ledger.run(self._planned.folder)
        if self._is_of_another_trial(folder, folder.newest_attempt()):
            return self._result(self._advance())
        stored = folder.read_result()
        validation = stored.records[-1].validation if stored.records else None
        recorded = self._result(Progress(RunStatus.RUNNING, stored.state.step, validation))
        return {**recorded, "done": True, SUPERSEDED: True}

    def _result(self, progress: Progress) -> dict[str, Any]:
        """What Tune sees: never a number of a test domain.

        Raises:
            GGASweepError: the run failed, in a user's own Tuner: Tune counts the trial's error, and may retry it.
        """
        if not self._in_launch and progress.status in (RunStatus.FAILED, RunStatus.OUT_OF_MEMORY):
            self._run = None
            raise GGASweepError(f"run {self._planned.folder} failed: {progress.reason}")
        validation = progress.validation
        self._last_result = {
            KEY: self._planned.key,
            STEP: -1 if validation is None else validation.step,
            **(_UNKNOWN if validation is None else validation_metrics(validation, self._sweep.config.metric)),
            PROGRESS_STEP: progress.step,
            "done": progress.status is not RunStatus.RUNNING,
        }
        remarks = progress.remarks[self._remarked :]
        self._remarked = len(progress.remarks)
        return {**self._last_result, **({REMARKS: "\n".join(remarks)} if remarks else {})}

    def _leave(self) -> None:
        """Leave a run that has not ended so that a later launch can resume it."""
        if self._run is None:
            return
        with suppress(AttemptSupersededError):  # the driver has set its status, or a newer attempt runs
            self._run.preempt(self._reason_to_stop() or "its trial was stopped")
        self._run = None


def bind_trainable(
    sweep: SweepSpec,
    contents: Contents,
    runs: Mapping[str, PlannedRun],
    launch: int | None = None,
    recording: RecordingOptions | None = None,
) -> Any:
    """The trainable of one sweep, with its resources.

    Tune registers trainables and their parameters by name in the process, so each sweep has its own name. It is the
    same in another process, or `Tuner.restore` would refuse it.

    Args:
        runs: by key, those that a configuration may name.
        launch: number of the launch whose stop request stops the runs; None for a user's own Tuner.
        recording: how the runs are recorded.

    Raises:
        ValueError: `resources.gpus` is not a number.
    """
    sweep = replace(sweep, tracking_uri=None)  # only the driver tracks; the URI may hold a password
    name = f"{RunTrainable.__name__}-{hashlib.blake2b(str(sweep.folder).encode(), digest_size=4).hexdigest()}"
    with REGISTRY:
        bound = tune.with_parameters(
            type(name, (RunTrainable,), {}),
            sweep=sweep,
            contents=contents,
            runs=dict(runs),
            launch=launch,
            recording=recording,
            experiment=uuid.uuid4().hex,
        )
    resources = sweep.config.resources
    if launch is not None:
        return tune.with_resources(bound, {"cpu": resources.cpus, "gpu": float(resources.gpus)})

    def checked(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        """Tune calls this where it makes a trial, before it starts an actor."""
        check_names(sweep, plain_values(config))
        return tune.PlacementGroupFactory([{"CPU": resources.cpus, "GPU": float(resources.gpus)}])

    return tune.with_resources(bound, checked)


def as_parameter(following: NextRun) -> dict[str, Any]:
    """A run as plain data in a trial's configuration, from which the actor plans it again."""
    run = following.run
    return {
        "arm": run.cell.arm,
        "test_domains": list(run.cell.test_domains),
        "trial_seed": run.cell.trial_seed,
        "draw": run.draws[0],
        "values": list(run.hyperparameters.items()),
        "cutoffs": list(following.cutoffs.items()),
        "first_step": following.first_step,
        "start": list(following.branching.start),
        "left": list(following.branching.left.items()),
    }


def _planned_in(sweep: SweepSpec, contents: Contents, parameter: Mapping[str, Any]) -> PlannedRun:
    tests, trial_seed = tuple(parameter["test_domains"]), parameter["trial_seed"]
    cell = Cell(sweep.dataset.name, parameter["arm"], tests, trial_seed)
    return suggested_run(sweep, contents, cell, parameter["draw"], dict(parameter["values"]))


def trainable(sweep: SweepSpec) -> Any:
    """A trainable for your own `tune.Tuner`; its trials are stored in the sweep's ledger.

    Use it with `param_space(sweep)` and `callbacks(sweep)`; with any searcher that takes a space of choices and ranges
    (`BayesOptSearch` takes ranges alone); and with any scheduler that does not change the configuration of a trial,
    with `time_attr="step"`. Trials report `val/accuracy` (maximise it, or that of the sweep's `metric`), `step`, and
    other metrics of the training domains; never one of a test domain. Trials that are one run (duplicates, or the same
    but for what their arm ignores) train it once and report the same. A trial whose run fails raises. A configuration
    of other names is refused when Tune makes the trial.

    Args:
        sweep: from `gga_sweep.load`.

    Returns:
        A trainable with the resources of the sweep file.

    Raises:
        InputError: the dataset is missing, a network cannot be built, or `resources.gpus` is auto, which only
            `run_sweep` can measure.
    """
    if sweep.config.resources.gpus == "auto":
        rule = "must be a number from 0 to 1 in a Tuner of your own"
        raise InputError([Fault("resources.gpus", rule, "auto")], sweep.source)
    require_writable(sweep.storage)
    require_networks(sweep)
    contents = prepare_ledger(sweep)
    decode_images(sweep)
    return bind_trainable(sweep, contents, {})


def _never_end(validations: Sequence[ValidationRecord]) -> None:
    """Without early stopping of ours every run is trained to its end."""


def _never_stop() -> None:
    """Outside of a launch nothing but Tune stops a trial."""


def plain_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with Python's numbers in place of the NumPy numbers that searchers return."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in config.items()}
