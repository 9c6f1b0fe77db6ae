"""Trains a run into its folder: claim, resume, train slice by slice, write, end with a status."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch

from gga_sweep.datasets import Dataset
from gga_sweep.datasets.splits import split_digests
from gga_sweep.errors import (
    AttemptSupersededError,
    DamagedFileError,
    GGASweepError,
    InputError,
    StorageError,
    first_line,
)
from gga_sweep.execution.checkpoint import best_validation, dump_checkpoint
from gga_sweep.execution.prefixes import Prefix, leave_prefix
from gga_sweep.execution.start_run import RunTraining, begin_anew, resume
from gga_sweep.ledger.json_codec import digest, dump_lines
from gga_sweep.ledger.prefix_names import UNBRANCHED, Branching
from gga_sweep.ledger.run_folder import Kept, RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.run_reader import DETERMINISTIC
from gga_sweep.records import FINAL, RunStatus, ValidationRecord
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import dump_tensors, dump_weights
from gga_sweep.training.fingerprint import fingerprint
from gga_sweep.training.trainer import Slice, Trainer, split_dataset

SLICE_SECONDS = 30.0
"""A slice without an evaluation ends after about this long (and after at least one step)."""

CHECKPOINT_SECONDS = 150.0
"""Between two evaluations a checkpoint is written as soon as the last is this old."""

CHECKPOINT_SHARE = 0.005
"""At an evaluation one is written unless that would take more than this share of the time since the last."""

MEASUREMENT_SECONDS = 10.0
"""At least so long is between two measurements of the machine, as in MLflow."""

ReasonToEnd = Callable[[Sequence[ValidationRecord]], str | None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """A run after a slice.

    Args:
        status: RUNNING, or how it ended.
        step: the last step trained; -1 before the first.
        validation: the last evaluation of the training domains; None before the first.
        reason: why it ended, unless it is DONE.
        remarks: why steps that it shares with other runs are trained more than once, in sentences.
    """

    status: RunStatus
    step: int
    validation: ValidationRecord | None
    reason: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """How a run is recorded; nothing here changes a number.

    Args:
        from_checkpoint: resume where the folder's checkpoint stands; False starts at step 0.
        kept: what stays once the run is final.
        strict_environment: fail, rather than go on from the checkpoint of another environment.
        trial: of a user's own Tuner, that trains it.
        measure: the machine's metrics at this time, for `system.jsonl`; None measures nothing.
    """

    from_checkpoint: bool = True
    kept: Kept = "selected"
    strict_environment: bool = False
    trial: str | None = None
    measure: Callable[[], Mapping[str, float]] | None = None


class RecordedRun:
    """Trains one run and writes its folder. `open` makes one.

    Errors of the run itself end it with a status, not with an exception.

    Args:
        folder: the run's folder, claimed by this attempt.
        training: the run where its training starts.
        options, reason_to_stop, reason_to_end, branching: as for `open`.
    """

    def __init__(
        self,
        folder: RunFolder,
        training: RunTraining,
        options: RecordingOptions,
        reason_to_stop: Callable[[], str | None],
        reason_to_end: ReasonToEnd,
        branching: Branching,
    ) -> None:
        self._folder = folder
        self._training = training
        self._options = options
        self._reason_to_stop = reason_to_stop
        self._reason_to_end = reason_to_end
        self._branching = branching
        self._status = RunStatus.RUNNING
        self._reason: str | None = None
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = 0.0
        self._last_measurement = -math.inf

    @classmethod
    def open(
        cls,
        folder: RunFolder,
        key: str,
        config: RunSpec,
        dataset: Dataset,
        device: torch.device,
        options: RecordingOptions | None = None,
        reason_to_stop: Callable[[], str | None] = lambda: None,
        reason_to_end: ReasonToEnd = lambda validations: None,
        branching: Branching = UNBRANCHED,
        code: Mapping[str, str] = MappingProxyType({}),
        workers: int = 0,
    ) -> RecordedRun | FailedRun:
        """Claim a run's folder, and resume its training or begin it.

        Args:
            folder: the run's folder. From here on, older attempts may not write it.
            key: its full key.
            config: the resolved run.
            dataset: the one that `config.dataset` names.
            device: where it trains.
            options: how it is recorded.
            reason_to_stop: called between steps: why the run should be left to a later launch; None while it should
                go on.
            reason_to_end: called after each evaluation, with all of them so far: why the run should be ended early,
                for good; None while it should go on.
            branching: the prefixes that it may begin with, and those that it leaves for other runs.
            code: digests of the source of its own parts.
            workers: processes that read images ahead; they end with the run.

        Raises:
            GGASweepError: the folder is of another run.
            StorageError: the folder cannot be read or written.
        """
        options = options or RecordingOptions()
        if (present := folder.readable_header()) is not None and present.key != key:
            raise GGASweepError(f"two runs have the same folder {folder.name}: {present.key} and {key}")
        started = time.time()
        trial = {} if options.trial is None else {"trial": options.trial}
        first = folder.claim({"host": socket.gethostname(), "pid": os.getpid(), "time": started, **trial}) == 1
        try:
            header = RunHeader(
                key=key,
                config=config,
                dataset_digest=dataset.digest,
                classes=dataset.classes,
                input_shape=dataset.input_shape,
                normalise=dataset.normalise,
                fingerprint=fingerprint(device, config.training.network, config.training.weights),
                start_time=started,
                split_digests=_split_digests(config, dataset),
                code=code,
            )
            folder.write_header(header)
            make_trainer = partial(Trainer, config, dataset, device, workers)
            training = None
            if options.from_checkpoint and not first:
                training = resume(folder, make_trainer, header.fingerprint, options.strict_environment)
            if training is None or training.step < 0:
                training = begin_anew(folder, header, make_trainer, branching.start, first)
        except (AttemptSupersededError, StorageError):
            raise
        except Exception as error:
            status, reason = _failure(folder, error)
            folder.write_state(status, -1, reason)
            return FailedRun(Progress(status, -1, None, reason))
        run = cls(folder, training, options, reason_to_stop, reason_to_end, branching)
        run._leave_prefix()
        run._write_state(RunStatus.RUNNING)
        return run

    @property
    def progress(self) -> Progress:
        validation = self._training.records[-1].validation if self._training.records else None
        return Progress(self._status, self._training.step, validation, self._reason, tuple(self._training.remarks))

    def advance(self, seconds: float = SLICE_SECONDS) -> Progress:
        """Train one slice and write its results. Does nothing once the run has ended.

        Raises:
            AttemptSupersededError: a newer attempt owns the run; nothing was written.
            StorageError: the results cannot be written; the folder holds what it held before.
        """
        if self._status is not RunStatus.RUNNING:
            return self.progress
        try:
            if (behind := self._behind()) is not None:  # its process died between its last checkpoint and its end
                self._finish(RunStatus.STOPPED, behind)
                return self.progress
            self._write(self._training.trainer.advance(seconds, self._interrupted))
        except (AttemptSupersededError, StorageError):
            self._training.trainer.close()
            raise
        except Exception as error:
            self._fail(error)
        if (reason := self._reason_to_stop()) is not None:
            self.preempt(reason)
        return self.progress

    def save_checkpoint(self) -> None:
        """Write a checkpoint now, before a pause or a graceful stop."""
        if self._status is RunStatus.RUNNING:
            self._checkpoint()

    def preempt(self, reason: str) -> None:
        """End this attempt with a checkpoint; a later launch resumes the run."""
        if self._status is RunStatus.RUNNING:
            self._training.trainer.close()
            self._checkpoint()
            self._end(RunStatus.PREEMPTED, reason)

    def _leave_prefix(self) -> None:
        """Write a prefix for other runs if this is a step to do so, and all steps had one environment."""
        name = self._branching.left.get(self._training.trainer.next_step)
        if name is None or self._training.environments:
            return
        try:
            selected = self._folder.read_selected()
            if (None if selected is None else digest(selected)) != self._training.selected_digest:
                raise DamagedFileError("its selected weights are not those that it wrote")
            prefix = Prefix(
                training=self._training.trainer.state(),
                records=tuple(self._training.records),
                annealed=tuple(self._training.annealed),
                selected=selected,
                environment=self._training.environment,
                seconds=self._folder.read_seconds(),
            )
            leave_prefix(self._folder.store, name, prefix)
        except Exception as error:  # costs the others time, and this run nothing
            text = f"it wrote no prefix, so runs that share its steps train them again: {first_line(error)}"
            self._training.remark(self._folder, text)

    def _interrupted(self) -> bool:
        return self._training.trainer.next_step in self._branching.left or self._reason_to_stop() is not None

    def _write(self, done: Slice) -> None:
        for text in done.remarks:
            self._training.remark(self._folder, text)
        if done.annealed:
            self._training.annealed.extend(done.annealed)
            self._folder.write_annealed(self._training.annealed)
        if done.record is not None:
            metric = self._training.trainer.config.metric
            best = best_validation(self._training.records, metric)
            is_best = done.record.validation.validation_mean(metric) > best  # not if equal, or NaN
            self._training.records.append(done.record)
            self._folder.write_records(self._training.records)
            if is_best:
                weights = dump_weights(self._training.trainer.network)
                self._folder.write_selected(weights)
                self._training.selected_digest = digest(weights)
        if done.averaged is not None:
            weights = dump_tensors(done.averaged.state)
            self._folder.write_averaged(done.averaged.averaged, weights)
            self._training.averaged_digests = {
                "averaged.jsonl": digest(dump_lines([done.averaged.averaged])),
                "averaged": digest(weights),
            }
        self._folder.add_timing(self._training.step, done.seconds)
        self._measure()
        if done.diverged is None:
            self._leave_prefix()
        if done.diverged is not None or self._training.trainer.finished:
            self._finish(RunStatus.DONE if done.diverged is None else RunStatus.DIVERGED, done.diverged)
        elif (behind := self._behind()) is not None:
            self._finish(RunStatus.STOPPED, behind)
        elif self._checkpoint_is_due(evaluated=done.record is not None):
            self._checkpoint()
        else:
            self._write_state(RunStatus.RUNNING)

    def _measure(self) -> None:
        measure = self._options.measure
        if measure is None or time.monotonic() - self._last_measurement < MEASUREMENT_SECONDS:
            return
        self._last_measurement = time.monotonic()
        try:
            values = measure()
        except Exception as error:  # of a driver, say; it costs a line, not the run
            logger.warning("run %s: its machine was not measured: %s", self._folder.name, first_line(error))
        else:
            self._folder.add_measurement(time.time(), values)

    def _behind(self) -> str | None:
        return self._reason_to_end([record.validation for record in self._training.records])

    def _finish(self, status: RunStatus, reason: str | None) -> None:
        if self._options.kept == "all":
            self._checkpoint()
        self._end(status, reason)
        if self._options.kept != "all":
            self._folder.delete_checkpoint()
        if self._options.kept == "none" and self._status in FINAL:
            self._folder.discard_weights()

    def _checkpoint_is_due(self, evaluated: bool) -> bool:
        age = time.monotonic() - self._last_checkpoint
        return age >= CHECKPOINT_SECONDS or (evaluated and age * CHECKPOINT_SHARE >= self._checkpoint_cost)

    def _checkpoint(self) -> None:
        began = time.monotonic()
        self._folder.write_checkpoint(dump_checkpoint(self._training.checkpoint()))
        self._write_state(RunStatus.RUNNING)
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = self._last_checkpoint - began

    def _fail(self, error: Exception) -> None:
        self._end(*_failure(self._folder, error))

    def _end(self, status: RunStatus, reason: str | None = None) -> None:
        if status in FINAL and (other := self._changed_file()) is not None:
            self._folder.delete_checkpoint()
            status = RunStatus.FAILED
            reason = f"another process wrote its {other} meanwhile; the next launch trains it again from step 0"
        self._status, self._reason = status, reason
        self._training.trainer.close()
        self._write_state(status, reason)

    def _changed_file(self) -> str | None:
        """A deterministic file that is not what this attempt wrote; lines, which it still has, are written again."""
        found, mine = self._folder.digests(), self._training.digests()
        for name in DETERMINISTIC:
            if found.get(name) == mine.get(name):
                continue
            if name == "records.jsonl" and self._training.records:
                self._folder.write_records(self._training.records)
            elif name == "annealing.jsonl" and self._training.annealed:
                self._folder.write_annealed(self._training.annealed)
            else:
                return name
        return None

    def _write_state(self, status: RunStatus, reason: str | None = None) -> None:
        training = self._training
        digests = training.digests() if status in FINAL else None
        self._folder.write_state(status, training.step, reason, training.environments, digests)


class FailedRun:
    """A run that failed before its training could start. It does nothing more."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def advance(self, seconds: float = SLICE_SECONDS) -> Progress:
        return self.progress

    def save_checkpoint(self) -> None:
        pass

    def preempt(self, reason: str) -> None:
        pass


def _failure(folder: RunFolder, error: Exception) -> tuple[RunStatus, str]:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return RunStatus.OUT_OF_MEMORY, str(error) or "out of memory"
    if isinstance(error, GGASweepError):  # written for users
        return RunStatus.FAILED, str(error)
    logger.error("run %s failed\n%s", folder.name, "".join(traceback.format_exception(error)))
    return RunStatus.FAILED, f"{type(error).__name__}: {error}"


def _split_digests(config: RunSpec, dataset: Dataset) -> dict[str, tuple[str, str]]:
    try:
        return split_digests(dataset.domains, split_dataset(config, dataset))
    except InputError:
        return {}  # the trainer splits them too: the run fails there, with its reason
