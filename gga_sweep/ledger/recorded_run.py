"""A run as it is trained into its folder: claim, resume, train slice by slice, write, end with a status."""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
from dataclasses import dataclass

import torch

from gga_sweep.config import RunConfig
from gga_sweep.domains import Dataset
from gga_sweep.domains.splits import split_digests
from gga_sweep.errors import AttemptSupersededError, InputError
from gga_sweep.ledger.run_folder import RunFolder, RunHeader
from gga_sweep.records import AnnealingLine, Record, RunStatus, ValidationRecord
from gga_sweep.training.checkpoint import dump_state, dump_weights, parse_state
from gga_sweep.training.fingerprint import fingerprint
from gga_sweep.training.trainer import Slice, Trainer, split_dataset

SLICE_SECONDS = 30.0
"""A slice without an evaluation ends after about this long (and after at least one step)."""

CHECKPOINT_SECONDS = 150.0
"""Between two evaluations a checkpoint is written as soon as the last is this old."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """What the outside sees of a run after a slice.

    Args:
        status: RUNNING, or how it ended.
        step: the last step trained; -1 before the first.
        validation: the last evaluation of the training domains; None before the first.
        reason: why it ended, where it did not end well.
    """

    status: RunStatus
    step: int
    validation: ValidationRecord | None
    reason: str | None = None


class RecordedRun:
    """Trains one run and keeps its folder. Errors of the run itself end it with a status, not with an exception.

    Args:
        folder: its folder; claimed here, which outdates every older writer.
        key: its full key.
        config: the resolved run.
        dataset: the one that `config.dataset` names.
        device: where it trains.
        from_checkpoint: resume where the folder's checkpoint stands; False starts at step 0.
    """

    def __init__(
        self,
        folder: RunFolder,
        key: str,
        config: RunConfig,
        dataset: Dataset,
        device: torch.device,
        from_checkpoint: bool = True,
    ) -> None:
        self._folder = folder
        self._status = RunStatus.RUNNING
        self._reason: str | None = None
        self._records: list[Record] = []
        self._annealed: list[AnnealingLine] = []
        self._best = -1.0
        self._last_checkpoint = time.monotonic()
        started = time.time()
        folder.claim({"host": socket.gethostname(), "pid": os.getpid(), "time": started})
        folder.write_header(
            RunHeader(
                key=key,
                config=config,
                dataset_digest=dataset.digest,
                classes=dataset.classes,
                input_shape=dataset.input_shape,
                normalise=dataset.normalise,
                fingerprint=fingerprint(device),
                start_time=started,
                split_digests=_split_digests(config, dataset),
            )
        )
        try:
            self._trainer = Trainer(config, dataset, device)
            if from_checkpoint:
                self._resume()
            else:
                folder.delete_checkpoint()  # or, stopped soon, the run would go on from it without its records
        except Exception as error:
            self._fail(error)
        else:
            folder.write_state(RunStatus.RUNNING, self._trainer.next_step - 1)

    @property
    def progress(self) -> Progress:
        validation = self._records[-1].validation if self._records else None
        return Progress(self._status, self._step, validation, self._reason)

    def advance(self, seconds: float = SLICE_SECONDS) -> Progress:
        """Train one slice and write what came of it. Does nothing once the run has ended.

        Raises:
            AttemptSupersededError: a newer attempt owns the run; nothing was written.
        """
        if self._status is not RunStatus.RUNNING:
            return self.progress
        try:
            self._write(self._trainer.advance(seconds))
        except AttemptSupersededError:
            raise
        except Exception as error:
            self._fail(error)
        return self.progress

    def save_checkpoint(self) -> None:
        """Write a checkpoint now, whatever the clock says: before a pause or a graceful stop."""
        if self._status is RunStatus.RUNNING:
            self._checkpoint()

    def preempt(self, reason: str) -> None:
        """Leave the run to a later launch, which goes on from here."""
        if self._status is RunStatus.RUNNING:
            self._checkpoint()
            self._end(RunStatus.PREEMPTED, reason)

    @property
    def _step(self) -> int:
        return self._trainer.next_step - 1 if hasattr(self, "_trainer") else -1

    def _resume(self) -> None:
        content = self._folder.read_checkpoint()
        if content is None:
            return
        try:
            state = parse_state(content)
        except Exception as error:
            logger.warning("run %s: its checkpoint is damaged (%s); it starts again", self._folder.name, error)
            return
        self._trainer.load_state(state)
        # Lines past the checkpoint are trained again, to the same bits.
        self._records = [record for record in self._folder.read_records() if record.step < self._trainer.next_step]
        self._annealed = [line for line in self._folder.read_annealed() if line.step < self._trainer.next_step]
        self._best = max((record.validation.accuracy for record in self._records), default=-1.0)

    def _write(self, done: Slice) -> None:
        if done.annealed:
            self._annealed.extend(done.annealed)
            self._folder.write_annealed(self._annealed)
        if done.record is not None:
            self._records.append(done.record)
            self._folder.write_records(self._records)
            if done.record.validation.accuracy > self._best:  # a later equal one, and NaN, do not win
                self._best = done.record.validation.accuracy
                self._folder.write_selected(dump_weights(self._trainer.network))
        self._folder.add_timing(self._step, done.seconds)
        if done.diverged is not None or self._trainer.finished:
            self._end(RunStatus.DONE if done.diverged is None else RunStatus.DIVERGED, done.diverged)
            self._folder.delete_checkpoint()
        elif done.record is not None or time.monotonic() - self._last_checkpoint >= CHECKPOINT_SECONDS:
            self._checkpoint()
        else:
            self._folder.write_state(RunStatus.RUNNING, self._step)

    def _checkpoint(self) -> None:
        self._folder.write_checkpoint(dump_state(self._trainer.state()))
        self._folder.write_state(RunStatus.RUNNING, self._step)
        self._last_checkpoint = time.monotonic()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            self._end(RunStatus.OUT_OF_MEMORY, str(error) or "out of memory")
        else:
            logger.error("run %s failed\n%s", self._folder.name, traceback.format_exc())
            self._end(RunStatus.FAILED, f"{type(error).__name__}: {error}")

    def _end(self, status: RunStatus, reason: str | None = None) -> None:
        self._status, self._reason = status, reason
        self._folder.write_state(status, self._step, reason)


def _split_digests(config: RunConfig, dataset: Dataset) -> dict[str, tuple[str, str]]:
    try:
        return split_digests(dataset.domains, split_dataset(config, dataset))
    except InputError:
        return {}  # the trainer splits them too: the run fails there, with its reason
