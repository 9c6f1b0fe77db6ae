"""The trial actor: one run of a sweep, slice by slice, as a Ray Tune trainable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from gga_sweep.errors import AttemptSupersededError, Fault, GGASweepError, InputError, StorageError
from gga_sweep.execution.open_run import open_run
from gga_sweep.execution.prepare import decode_images, prepare_ledger, require_writable
from gga_sweep.execution.recorded_run import FailedRun, Progress, ReasonToEnd, RecordedRun, RecordingOptions
from gga_sweep.ledger.branching import UNBRANCHED, Branching
from gga_sweep.ledger.lease import LAUNCHES, StopNotice
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.searched import keep_searched
from gga_sweep.records import FINAL, Cell, RunStatus, ValidationRecord
from gga_sweep.scheduling.next_runs import EndedEarly, NextRun
from gga_sweep.spec import Contents, PlannedRun, Sweep, searched_run
from gga_sweep.spec.runs import suggested_run
from gga_sweep.tracking.names import KEY, PROGRESS_STEP, STEP, VAL_ACCURACY, validation_metrics

RUN = "run"
"""The parameter that names a run of the plan by its key. Without it the configuration is a searcher's."""

SUPERSEDED = "superseded"
"""In a trial's last result: somebody else owns the run now, and what becomes of it is not this trial's."""

REFUSED = "storage_refused"
"""In a trial's last result, within a launch of ours: why the storage can no longer be used."""

REMARKS = "remarks"
"""In a trial's result: what its run had to remark since the last, a line each."""

NEXT = "next"
"""The parameter that holds a run of a source, as `as_parameter` makes it."""

_KEY_FILE = "key"


class RunTrainable(tune.Trainable):  # type: ignore[misc]  # ray is untyped
    """Trains the run that a trial's configuration names. One Tune step is one slice.

    The ledger holds all that matters; a Tune checkpoint holds the run's key, so that a scheduler that swaps
    configurations under a trial is noticed.
    """

    def setup(
        self,
        config: dict[str, Any],
        *,
        sweep: Sweep,
        contents: Contents,
        runs: Mapping[str, PlannedRun],
        launch: int | None = None,
        recording: RecordingOptions | None = None,
    ) -> None:
        self._sweep = sweep
        self._contents = contents
        self._runs = runs
        self._ledger = Ledger(sweep.folder)
        self._in_launch = launch is not None
        self._reason_to_stop = _never if launch is None else StopNotice(self._ledger.store, LAUNCHES, launch)
        self._recording = recording
        self._tainted = False
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if self._tainted:
            raise RuntimeError("a device error leaves a process that must not be used again")
        self._leave()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if self._run is None and self._reason_to_stop() is not None:
            return {"done": True}  # the launch stops: the run stays in the queue
        try:
            return self._result(self._advance())
        except AttemptSupersededError:
            return {**self._last_result, "done": True, SUPERSEDED: True}
        except StorageError as error:
            if not self._in_launch:
                raise
            return {**self._last_result, "done": True, REFUSED: str(error)}  # Tune would only try it again and again

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        if self._run is not None:
            self._run.save_checkpoint()
        (Path(checkpoint_dir) / _KEY_FILE).write_text(str(self._planned.key))  # a dictionary would be pickled

    def load_checkpoint(self, checkpoint: str) -> None:
        key = (Path(checkpoint) / _KEY_FILE).read_text()
        if key != self._planned.key:
            raise GGASweepError(
                "a scheduler changed the configuration of a running trial, and with it the run's key "
                f"({key[:8]} became {(self._planned.key or '')[:8]}). Population based training does that; "
                "use a scheduler that leaves configurations alone, such as ASHAScheduler(time_attr='step')"
            )

    def cleanup(self) -> None:
        self._leave()

    def _begin(self, config: Mapping[str, Any]) -> None:
        """Know which run it is. It is opened by the first step: until then the trial may still be called off."""
        self._planned = self._resolve(plain_values(config))
        self._reason_to_end: ReasonToEnd = _never_behind
        self._branching = UNBRANCHED
        if NEXT in config:
            following = config[NEXT]
            self._reason_to_end = EndedEarly(dict(following["cutoffs"]), following["first_step"])
            self._branching = Branching(tuple(following["start"]), dict(following["left"]))
        self._searched = RUN not in config
        self._run: RecordedRun | FailedRun | None = None
        self._replayed = 0
        self._last_result: dict[str, Any] = {}
        self._remarked = 0

    def _resolve(self, config: dict[str, Any]) -> PlannedRun:
        if NEXT in config:
            return _planned_in(self._sweep, self._contents, config[NEXT])
        if RUN in config:
            return self._runs[config[RUN]]
        return searched_run(self._sweep, self._contents, config)

    def _advance(self) -> Progress:
        folder = self._ledger.run(str(self._planned.folder))
        if self._run is None:
            state = folder.read_result().state
            if state.status in FINAL:
                return self._replay()
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
                )
            except (AttemptSupersededError, StorageError):
                raise
            except GGASweepError as error:  # trying again would not help
                folder.mark(RunStatus.FAILED, str(error))
                return Progress(RunStatus.FAILED, state.step, None, str(error))
        progress = self._run.advance()
        self._tainted = self._sweep.config.resources.on_gpu and progress.status in (
            RunStatus.FAILED,
            RunStatus.OUT_OF_MEMORY,
        )
        return progress

    def _replay(self) -> Progress:
        """A run that is final already: its evaluations are told again, one a step, so that a scheduler sees a curve."""
        stored = self._ledger.run(str(self._planned.folder)).read()
        last = min(self._replayed, len(stored.records) - 1)
        self._replayed += 1
        ended = self._replayed >= len(stored.records)
        validation = stored.records[last].validation if stored.records else None
        step = validation.step if validation else stored.state.step
        return Progress(stored.state.status if ended else RunStatus.RUNNING, step, validation, stored.state.reason)

    def _result(self, progress: Progress) -> dict[str, Any]:
        """All that Tune may see: never a number of a test domain."""
        validation = progress.validation
        self._last_result = {
            KEY: self._planned.key,
            STEP: -1 if validation is None else validation.step,
            **({VAL_ACCURACY: float("nan")} if validation is None else validation_metrics(validation)),
            PROGRESS_STEP: progress.step,
            "done": progress.status is not RunStatus.RUNNING,
        }
        remarks = progress.remarks[self._remarked :]
        self._remarked = len(progress.remarks)
        return {**self._last_result, **({REMARKS: "\n".join(remarks)} if remarks else {})}

    def _leave(self) -> None:
        """The trial was stopped from outside, unless the run has ended: leave it where a later launch goes on."""
        if self._run is None:
            return
        with suppress(AttemptSupersededError):  # the driver has marked it, or a newer attempt runs
            self._run.preempt(self._reason_to_stop() or "its trial was stopped")
        self._run = None


def bind_trainable(
    sweep: Sweep,
    contents: Contents,
    runs: Mapping[str, PlannedRun],
    launch: int | None = None,
    recording: RecordingOptions | None = None,
) -> Any:
    """The trainable of one sweep, with its resources.

    Args:
        launch: the number of the launch whose end is the runs' end; None for a user's own Tuner.
        recording: how the runs are recorded.

    Raises:
        ValueError: `resources.gpus` is no number yet.
    """
    bound = tune.with_parameters(
        RunTrainable,
        sweep=replace(sweep, tracking_uri=None),  # only the driver tracks, and the URI may hold a password
        contents=contents,
        runs=dict(runs),
        launch=launch,
        recording=recording,
    )
    resources = sweep.config.resources
    return tune.with_resources(bound, {"cpu": resources.cpus, "gpu": float(resources.gpus)})


def as_parameter(following: NextRun) -> dict[str, Any]:
    """A run as a trial's configuration carries it: plain data, from which its actor plans it again."""
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


def _planned_in(sweep: Sweep, contents: Contents, parameter: Mapping[str, Any]) -> PlannedRun:
    tests, trial_seed = tuple(parameter["test_domains"]), parameter["trial_seed"]
    cell = Cell(sweep.dataset.name, parameter["arm"], tests, trial_seed)
    return suggested_run(sweep, contents, cell, parameter["draw"], dict(parameter["values"]))


def trainable(sweep: Sweep) -> Any:
    """A trainable for your own `tune.Tuner`: its trials land in the sweep's ledger.

    Use it with `param_space(sweep)`, `callbacks(sweep)`, any searcher, and any scheduler that leaves a trial's
    configuration alone, with `time_attr="step"`. Trials report `val/accuracy` (maximise it), `step`, and the other
    numbers of the training domains; never one of a test domain.

    Raises:
        InputError: the dataset is not there, or `resources.gpus` is auto, which a launch of ours alone measures.
    """
    if sweep.config.resources.gpus == "auto":
        rule = "must be a number from 0 to 1 in a Tuner of your own"
        raise InputError([Fault("resources.gpus", rule, "auto")], sweep.source)
    require_writable(sweep.storage)
    contents = prepare_ledger(sweep)
    decode_images(sweep)
    return bind_trainable(sweep, contents, {})


def _never_behind(validations: Sequence[ValidationRecord]) -> None:
    """Where every run is trained to its end, or a user's own scheduler ends it."""


def _never() -> None:
    """A user's own Tuner stops its trials by itself."""


def plain_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Searchers hand over numpy's numbers; a run's configuration holds plain ones."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in config.items()}
