"""A run as it is trained into its folder: claim, resume, train slice by slice, write, end with a status."""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

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
from gga_sweep.execution.prefixes import Prefix, leave_prefix, read_prefix
from gga_sweep.ledger.branching import UNBRANCHED, Branching
from gga_sweep.ledger.json_codec import digest, dump_lines
from gga_sweep.ledger.run_folder import Kept, RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.run_reader import AVERAGED
from gga_sweep.records import AnnealingLine, Record, RunStatus, ValidationRecord
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import dump_state, dump_tensors, dump_weights, parse_state
from gga_sweep.training.fingerprint import fingerprint
from gga_sweep.training.trainer import Slice, Trainer, split_dataset

SLICE_SECONDS = 30.0
"""A slice without an evaluation ends after about this long (and after at least one step)."""

CHECKPOINT_SECONDS = 150.0
"""Between two evaluations a checkpoint is written as soon as the last is this old."""

CHECKPOINT_SHARE = 0.005
"""At an evaluation one is written unless that would take more than this share of the time since the last."""

ReasonToEnd = Callable[[Sequence[ValidationRecord]], str | None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """What the outside sees of a run after a slice.

    Args:
        status: RUNNING, or how it ended.
        step: the last step trained; -1 before the first.
        validation: the last evaluation of the training domains; None before the first.
        reason: why it ended, where it did not end well.
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
    """

    from_checkpoint: bool = True
    kept: Kept = "selected"
    strict_environment: bool = False


class RecordedRun:
    """Trains one run and keeps its folder. Errors of the run itself end it with a status, not with an exception.

    Args:
        folder: its folder; claimed here, which outdates every older writer.
        key: its full key.
        config: the resolved run.
        dataset: the one that `config.dataset` names.
        device: where it trains.
        options: how it is recorded.
        reason_to_stop: asked between steps: why the run should be left to a later launch; None while it should go on.
        reason_to_end: asked after each evaluation, with all of them so far: why the run should be ended early, for
            good; None while it should go on.
        branching: from where it may begin, in place of step 0, and what it leaves for others.

    Raises:
        GGASweepError: another run lives in the folder.
        StorageError: the folder cannot be read or written.
    """

    def __init__(
        self,
        folder: RunFolder,
        key: str,
        config: RunSpec,
        dataset: Dataset,
        device: torch.device,
        options: RecordingOptions | None = None,
        reason_to_stop: Callable[[], str | None] = lambda: None,
        reason_to_end: ReasonToEnd = lambda validations: None,
        branching: Branching = UNBRANCHED,
    ) -> None:
        self._folder = folder
        self._branching = branching
        self._remarks: list[str] = []
        self._reason_to_end = reason_to_end
        self._options = options or RecordingOptions()
        self._reason_to_stop = reason_to_stop
        self._status = RunStatus.RUNNING
        self._reason: str | None = None
        self._records: list[Record] = []
        self._annealed: list[AnnealingLine] = []
        self._best = -1.0
        self._selected_digest: str | None = None
        self._averaged_digests: dict[str, str] = {}
        self._environment = fingerprint(device)
        self._environments: list[str] = []
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = 0.0
        if (present := folder.readable_header()) is not None and present.key != key:
            raise GGASweepError(f"two runs want the folder {folder.name}: {present.key} and {key}")
        started = time.time()
        first = folder.claim({"host": socket.gethostname(), "pid": os.getpid(), "time": started}) == 1
        try:
            header = RunHeader(
                key=key,
                config=config,
                dataset_digest=dataset.digest,
                classes=dataset.classes,
                input_shape=dataset.input_shape,
                normalise=dataset.normalise,
                fingerprint=self._environment,
                start_time=started,
                split_digests=_split_digests(config, dataset),
            )
            folder.write_header(header)
            at_step_0 = partial(Trainer, config, dataset, device)
            self._trainer = at_step_0()
            if not first and not (self._options.from_checkpoint and self._resume()):
                self._trainer = at_step_0()  # the other may have loaded half a checkpoint
                self._begin_anew(header)
            if self._trainer.next_step == 0:
                self._branch_off(at_step_0)
            self._leave_prefix()
        except (AttemptSupersededError, StorageError):
            raise
        except Exception as error:
            self._fail(error)
        else:
            self._write_state(RunStatus.RUNNING)

    @property
    def progress(self) -> Progress:
        validation = self._records[-1].validation if self._records else None
        return Progress(self._status, self._step, validation, self._reason, tuple(self._remarks))

    def advance(self, seconds: float = SLICE_SECONDS) -> Progress:
        """Train one slice and write what came of it. Does nothing once the run has ended.

        Raises:
            AttemptSupersededError: a newer attempt owns the run; nothing was written.
            StorageError: what came of it cannot be written; the folder holds what was there before.
        """
        if self._status is not RunStatus.RUNNING:
            return self.progress
        try:
            if (behind := self._behind()) is not None:  # it was lost between its last checkpoint and its end
                self._finish(RunStatus.STOPPED, behind)
                return self.progress
            self._write(self._trainer.advance(seconds, self._interrupted))
        except (AttemptSupersededError, StorageError):
            raise
        except Exception as error:
            self._fail(error)
        if (reason := self._reason_to_stop()) is not None:
            self.preempt(reason)
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

    def _resume(self) -> bool:
        """Go on from the checkpoint, if there is one and the folder holds what it says."""
        content = self._folder.read_checkpoint()
        if content is None:
            return False
        try:
            self._load(content)
        except (AttemptSupersededError, StorageError, _OtherEnvironmentError):
            raise
        except Exception as error:  # of ours, of torch when another version wrote it, of whatever is in it
            logger.warning("run %s: its checkpoint is of no use (%s); it starts again", self._folder.name, error)
            return False
        return True

    def _load(self, content: bytes) -> None:
        state = parse_state(content)
        next_step, written = state["next_step"], state["recorded"]
        # Lines past the checkpoint are trained again, to the same bits.
        later = [record for record in self._folder.read_records() if record.step >= next_step]
        records = [record for record in self._folder.read_records() if record.step < next_step]
        annealed = [line for line in self._folder.read_annealed() if line.step < next_step]
        best = max((record.validation.accuracy for record in records), default=-1.0)
        selected = self._folder.read_selected()
        _require_written("records.jsonl", dump_lines(records), written["records.jsonl"])
        _require_written("annealing.jsonl", dump_lines(annealed), written["annealing.jsonl"])
        environments = self._environments_since(state["environment"], state["environments"], next_step)
        ahead = any(record.validation.accuracy > best for record in later)
        if not ahead or environments != state["environments"]:  # else they are of a later step, and come again
            _require_written("selected", selected, written["selected"])
        averaged = {name: written[name] for name in AVERAGED if name in written}
        for name, expected in averaged.items():
            _require_written(name, self._folder.read_file(name), expected)
        if not averaged:
            self._folder.delete_averaged()
        self._trainer.load_state(state)
        self._records, self._annealed, self._best = records, annealed, best
        self._selected_digest, self._environments = written["selected"], environments
        self._averaged_digests = averaged

    def _environments_since(self, before: Mapping[str, str], noted: Sequence[str], step: int) -> list[str]:
        """What is trained under another environment may differ in its last bits: the run says so."""
        names = sorted({*before, *self._environment})
        changes = [
            f"{name} {before.get(name)} -> {self._environment.get(name)}"
            for name in names
            if before.get(name) != self._environment.get(name)
        ]
        if changes and self._options.strict_environment:
            raise _OtherEnvironmentError(
                f"its checkpoint is of another environment ({'; '.join(changes)}) and --strict-environment is on: "
                "go on where it was trained, or train it anew with `gga-sweep retry`"
            )
        return [*noted, *([f"from step {step}: {'; '.join(changes)}"] if changes else [])]

    def _begin_anew(self, header: RunHeader) -> None:
        """Whatever an older attempt left must not be taken for what this one will write."""
        self._folder.delete_training()
        present = self._folder.read_header()
        if present is not None and present.fingerprint != header.fingerprint:
            self._folder.write_header(header, anew=True)

    def _branch_off(self, at_step_0: Callable[[], Trainer]) -> None:
        """Begin with the longest prefix that is there and of use; at step 0 if there is none."""
        for name in self._branching.start:
            try:
                prefix = read_prefix(self._folder.store, name)
                if prefix is None or dict(prefix.environment) != self._environment:
                    continue  # its bits might not be those that this environment gives
                self._trainer.load_state(prefix.training)
            except StorageError:
                raise
            except Exception as error:  # of torch when another version wrote it, of whatever is in it
                self._remark(f"the prefix {name} is of no use ({first_line(error)}): it trains those steps anew")
                self._trainer = at_step_0()
            else:
                self._inherit(prefix)
                return

    def _inherit(self, prefix: Prefix) -> None:
        self._records, self._annealed = list(prefix.records), list(prefix.annealed)
        self._best = max((record.validation.accuracy for record in self._records), default=-1.0)
        if prefix.annealed:
            self._folder.write_annealed(self._annealed)
        if prefix.records:
            self._folder.write_records(self._records)
        if prefix.selected is not None:
            self._folder.write_selected(prefix.selected)
            self._selected_digest = digest(prefix.selected)
        self._folder.add_timing(self._step, prefix.seconds, inherited=True)

    def _leave_prefix(self) -> None:
        """After as many steps as other runs share with this one; not where its environment changed on the way."""
        name = self._branching.left.get(self._trainer.next_step)
        if name is None or self._environments:
            return
        try:
            selected = self._folder.read_selected()
            _require_written("selected", selected, self._selected_digest)
            prefix = Prefix(
                training=self._trainer.state(),
                records=tuple(self._records),
                annealed=tuple(self._annealed),
                selected=selected,
                environment=self._environment,
                seconds=self._folder.read_seconds(),
            )
            leave_prefix(self._folder.store, name, prefix)
        except Exception as error:  # it costs the others their saving, and this run nothing
            self._remark(f"it leaves no prefix, runs that share its steps train them anew: {first_line(error)}")

    def _remark(self, text: str) -> None:
        logger.warning("run %s: %s", self._folder.name, text)
        self._remarks.append(f"run {self._folder.name}: {text}")

    def _interrupted(self) -> bool:
        return self._trainer.next_step in self._branching.left or self._reason_to_stop() is not None

    def _write(self, done: Slice) -> None:
        if done.annealed:
            self._annealed.extend(done.annealed)
            self._folder.write_annealed(self._annealed)
        if done.record is not None:
            self._records.append(done.record)
            self._folder.write_records(self._records)
            if done.record.validation.accuracy > self._best:  # a later equal one, and NaN, do not win
                self._best = done.record.validation.accuracy
                weights = dump_weights(self._trainer.network)
                self._folder.write_selected(weights)
                self._selected_digest = digest(weights)
        if done.averaged is not None:
            weights = dump_tensors(done.averaged.state)
            self._folder.write_averaged(done.averaged.averaged, weights)
            self._averaged_digests = {
                "averaged.jsonl": digest(dump_lines([done.averaged.averaged])),
                "averaged": digest(weights),
            }
        self._folder.add_timing(self._step, done.seconds)
        if done.diverged is None:
            self._leave_prefix()
        if done.diverged is not None or self._trainer.finished:
            self._finish(RunStatus.DONE if done.diverged is None else RunStatus.DIVERGED, done.diverged)
        elif (behind := self._behind()) is not None:
            self._finish(RunStatus.STOPPED, behind)
        elif self._checkpoint_is_due(evaluated=done.record is not None):
            self._checkpoint()
        else:
            self._write_state(RunStatus.RUNNING)

    def _behind(self) -> str | None:
        return self._reason_to_end([record.validation for record in self._records])

    def _finish(self, status: RunStatus, reason: str | None) -> None:
        if self._options.kept == "all":
            self._checkpoint()
        self._end(status, reason)
        if self._options.kept != "all":
            self._folder.delete_checkpoint()
        if self._options.kept == "none":
            self._folder.discard_weights()

    def _checkpoint_is_due(self, evaluated: bool) -> bool:
        age = time.monotonic() - self._last_checkpoint
        return age >= CHECKPOINT_SECONDS or (evaluated and age * CHECKPOINT_SHARE >= self._checkpoint_cost)

    def _checkpoint(self) -> None:
        began = time.monotonic()
        recorded = {
            "records.jsonl": digest(dump_lines(self._records)),
            "annealing.jsonl": digest(dump_lines(self._annealed)),
            "selected": self._selected_digest,
            **self._averaged_digests,
        }
        state: dict[str, Any] = {
            **self._trainer.state(),
            "recorded": recorded,
            "environment": self._environment,
            "environments": self._environments,
        }
        self._folder.write_checkpoint(dump_state(state))
        self._write_state(RunStatus.RUNNING)
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = self._last_checkpoint - began

    def _fail(self, error: Exception) -> None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            self._end(RunStatus.OUT_OF_MEMORY, str(error) or "out of memory")
        elif isinstance(error, GGASweepError):  # meant for people
            self._end(RunStatus.FAILED, str(error))
        else:
            logger.error("run %s failed\n%s", self._folder.name, traceback.format_exc())
            self._end(RunStatus.FAILED, f"{type(error).__name__}: {error}")

    def _end(self, status: RunStatus, reason: str | None = None) -> None:
        self._status, self._reason = status, reason
        self._write_state(status, reason)

    def _write_state(self, status: RunStatus, reason: str | None = None) -> None:
        self._folder.write_state(status, self._step, reason, self._environments)


class _OtherEnvironmentError(GGASweepError):
    """The checkpoint was written in another environment, and only its own will do."""


def _require_written(name: str, content: bytes | None, expected: str | None) -> None:
    if (None if content is None else digest(content)) != expected:
        raise DamagedFileError(f"{name} is not what it was written with")


def _split_digests(config: RunSpec, dataset: Dataset) -> dict[str, tuple[str, str]]:
    try:
        return split_digests(dataset.domains, split_dataset(config, dataset))
    except InputError:
        return {}  # the trainer splits them too: the run fails there, with its reason
