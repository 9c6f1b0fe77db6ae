"""The trial actor: one run of a sweep, slice by slice, as a Ray Tune trainable."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from ray import tune

from gga_sweep.errors import AttemptSupersededError, GGASweepError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.recorded_run import Progress, RecordedRun
from gga_sweep.planning import Contents, PlannedRun, Sweep, searched_run
from gga_sweep.planning.prepare import decode_images, prepare_ledger, require_writable
from gga_sweep.records import FINAL, RunStatus
from gga_sweep.report.collect import remember_searched
from gga_sweep.sweep.open_run import open_run
from gga_sweep.tracking.names import KEY, PROGRESS_STEP, STEP, VAL_ACCURACY, validation_metrics

RUN = "run"
"""The parameter that names a run of the plan by its key. Without it the configuration is a searcher's."""


class RunTrainable(tune.Trainable):  # type: ignore[misc]  # ray is untyped
    """Trains the run that a trial's configuration names. One Tune step is one slice.

    The ledger holds all that matters; a Tune checkpoint holds the run's key, so that a scheduler that swaps
    configurations under a trial is noticed.
    """

    def setup(
        self, config: dict[str, Any], *, sweep: Sweep, contents: Contents, runs: Mapping[str, PlannedRun]
    ) -> None:
        self._sweep = sweep
        self._contents = contents
        self._runs = runs
        self._tainted = False
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if self._tainted:
            raise RuntimeError("a device error leaves a process that must not be used again")
        self._leave()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            return self._result(self._advance())
        except AttemptSupersededError:
            return {**self._last_result, "done": True}  # somebody else owns the run: stop, and write nothing

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        if self._run is not None:
            self._run.save_checkpoint()
        return {KEY: self._planned.key}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        if checkpoint is not None and checkpoint[KEY] != self._planned.key:
            raise GGASweepError(
                "a scheduler changed the configuration of a running trial, and with it the run's key "
                f"({checkpoint[KEY][:8]} became {(self._planned.key or '')[:8]}). Population based training does that; "
                "use a scheduler that leaves configurations alone, such as ASHAScheduler(time_attr='step')"
            )

    def cleanup(self) -> None:
        self._leave()

    def _begin(self, config: Mapping[str, Any]) -> None:
        """Know which run it is. It is opened by the first step: until then the trial may still be called off."""
        self._planned = self._resolve(plain_values(config))
        self._searched = RUN not in config
        self._ledger = Ledger(self._sweep.folder)
        self._run: RecordedRun | None = None
        self._replayed = 0
        self._last_result: dict[str, Any] = {}

    def _resolve(self, config: dict[str, Any]) -> PlannedRun:
        if RUN in config:
            return self._runs[config[RUN]]
        return searched_run(self._sweep, self._contents, config)

    def _advance(self) -> Progress:
        folder = self._ledger.run(str(self._planned.folder))
        if self._run is None:
            state = folder.read_state()
            if state.status in FINAL:
                return self._replay()
            if self._searched:
                remember_searched(self._ledger, self._planned)
            gpus = self._sweep.config.resources.gpus
            try:
                self._run = open_run(self._planned, self._ledger, self._sweep.storage, self._contents.dataset, gpus)
            except GGASweepError as error:  # trying again would not help
                folder.mark(RunStatus.FAILED, str(error))
                return Progress(RunStatus.FAILED, state.step, None, str(error))
        progress = self._run.advance()
        self._tainted = self._sweep.config.resources.gpus > 0 and progress.status in (
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
        return dict(self._last_result)

    def _leave(self) -> None:
        """The trial was stopped from outside, unless the run has ended: leave it where a later launch goes on."""
        if self._run is None:
            return
        with suppress(AttemptSupersededError):  # the driver has marked it, or a newer attempt runs
            self._run.preempt("its trial was stopped")
        self._run = None


def bind_trainable(sweep: Sweep, contents: Contents, runs: Mapping[str, PlannedRun]) -> Any:
    """The trainable of one sweep, with its resources."""
    bound = tune.with_parameters(RunTrainable, sweep=sweep, contents=contents, runs=dict(runs))
    resources = sweep.config.resources
    return tune.with_resources(bound, {"cpu": resources.cpus, "gpu": resources.gpus})


def trainable(sweep: Sweep) -> Any:
    """A trainable for your own `tune.Tuner`: its trials land in the sweep's ledger.

    Use it with `param_space(sweep)`, `callbacks(sweep)`, any searcher, and any scheduler that leaves a trial's
    configuration alone, with `time_attr="step"`. Trials report `val/accuracy` (maximise it), `step`, and the other
    numbers of the training domains; never one of a test domain.

    Raises:
        InputError: the dataset is not there.
    """
    require_writable(sweep.storage)
    contents = prepare_ledger(sweep)
    decode_images(sweep)
    return bind_trainable(sweep, contents, {})


def plain_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Searchers hand over numpy's numbers; a run's configuration holds plain ones."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in config.items()}
