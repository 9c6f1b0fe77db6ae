"""Where the training of a run starts: at its checkpoint, else after the longest prefix it shares, else at step 0."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gga_sweep.errors import AttemptSupersededError, DamagedFileError, GGASweepError, StorageError, first_line
from gga_sweep.execution.checkpoint import Checkpoint, parse_checkpoint
from gga_sweep.execution.prefixes import Prefix, read_prefix
from gga_sweep.ledger.json_codec import digest, dump_lines
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.run_reader import AVERAGED
from gga_sweep.records import AnnealingLine, Record
from gga_sweep.training.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RunTraining:
    """A run in training, with what it has recorded so far.

    Args:
        trainer: trains it.
        environment: the environment it is trained in now.
        records, annealed: of the steps done.
        selected_digest: of the selected weights; None before the first evaluation that counts.
        averaged_digests: of the files of averaged weights, by name.
        environments: each change of the environment so far, in words.
        remarks: why steps that the run shares with other runs are trained more than once, in sentences.
    """

    trainer: Trainer
    environment: Mapping[str, str]
    records: list[Record] = field(default_factory=list)
    annealed: list[AnnealingLine] = field(default_factory=list)
    selected_digest: str | None = None
    averaged_digests: dict[str, str | None] = field(default_factory=dict)
    environments: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def step(self) -> int:
        """The last step done; -1 before the first."""
        return self.trainer.next_step - 1

    def checkpoint(self) -> Checkpoint:
        """The checkpoint to resume from here."""
        return Checkpoint(self.trainer.state(), self._recorded(), self.environment, self.environments)

    def digests(self) -> dict[str, str]:
        """By name, of the deterministic files that this attempt has written or found intact."""
        recorded = {name: found for name, found in self._recorded().items() if found is not None}
        if not self.annealed:
            del recorded["annealing.jsonl"]
        if not self.records:
            del recorded["records.jsonl"]
        return recorded

    def _recorded(self) -> dict[str, str | None]:
        return {
            "records.jsonl": digest(dump_lines(self.records)),
            "annealing.jsonl": digest(dump_lines(self.annealed)),
            "selected": self.selected_digest,
            **self.averaged_digests,
        }

    def remark(self, folder: RunFolder, text: str) -> None:
        """Log a remark, and keep it for the launcher."""
        logger.warning("run %s: %s", folder.name, text)
        self.remarks.append(f"run {folder.name}: {text}")


def resume(
    folder: RunFolder, make_trainer: Callable[[], Trainer], environment: Mapping[str, str], strict_environment: bool
) -> RunTraining | None:
    """Go on from the folder's checkpoint; None if there is none that fits the folder's files.

    Args:
        make_trainer: makes the run's trainer at step 0.
        environment: the present one.
        strict_environment: fail if the checkpoint is of another environment.

    Raises:
        OtherEnvironmentError: the checkpoint is of another environment, and `strict_environment` is set.
    """
    content = folder.read_checkpoint()
    if content is None:
        return None
    try:
        return _resumed(folder, content, make_trainer(), environment, strict_environment)
    except (AttemptSupersededError, StorageError, OtherEnvironmentError):
        raise
    except Exception as error:  # of ours, of torch if another version wrote it, of whatever the file holds
        logger.warning("run %s: its checkpoint cannot be used (%s); it starts again", folder.name, error)
        return None


def begin_anew(
    folder: RunFolder,
    header: RunHeader,
    make_trainer: Callable[[], Trainer],
    prefixes: Sequence[str],
    first_attempt: bool,
) -> RunTraining:
    """Begin after the longest of these prefixes that can be used; at step 0 if there is none.

    Args:
        header: of this attempt; replaces one of another environment.
        prefixes: names, the longest first.
        first_attempt: an older attempt left nothing in the folder.
    """
    if not first_attempt:
        folder.delete_training()
        present = folder.read_header()
        if present is not None and present.fingerprint != header.fingerprint:
            folder.write_header(header, anew=True)
    training = RunTraining(make_trainer(), header.fingerprint)
    for name in prefixes:
        try:
            prefix = read_prefix(folder.store, name)
            if prefix is None or prefix.environment != header.fingerprint:
                continue  # another environment might give other bits
            training.trainer.load_state(prefix.training)
        except StorageError:
            raise
        except Exception as error:  # of torch if another version wrote it, of whatever the file holds
            training.remark(
                folder, f"the prefix {name} cannot be used ({first_line(error)}): it trains those steps again"
            )
            training.trainer = make_trainer()  # the old one may have loaded a part of it
        else:
            _inherit(folder, training, prefix)
            break
    return training


class OtherEnvironmentError(GGASweepError):
    """The checkpoint was written in another environment, and --strict-environment is on."""


def _resumed(
    folder: RunFolder, content: bytes, trainer: Trainer, environment: Mapping[str, str], strict_environment: bool
) -> RunTraining:
    checkpoint = parse_checkpoint(content)
    all_records, all_annealed = folder.read_records(), folder.read_annealed()
    for name in checkpoint.faults(all_records, all_annealed, folder.read_file, trainer.config.metric):
        raise DamagedFileError(f"{name} is not what it was written with")
    environments = [*checkpoint.environments]
    if changes := _changes(checkpoint.environment, environment):
        if strict_environment:
            raise OtherEnvironmentError(
                f"its checkpoint is of another environment ({changes}) and --strict-environment is on: "
                "go on where it was trained, or train it anew with `gga-sweep retry`"
            )
        if not checkpoint.has_recorded("selected", folder.read_selected()):
            raise DamagedFileError("selected is of a later step, which may come out differently here")
        environments.append(f"from step {checkpoint.next_step}: {changes}")
    averaged = {name: checkpoint.recorded[name] for name in AVERAGED if name in checkpoint.recorded}
    if not averaged:
        folder.delete_averaged()
    trainer.load_state(checkpoint.training)
    records, _ = checkpoint.split(all_records)
    return RunTraining(
        trainer,
        environment,
        records,
        annealed=[line for line in all_annealed if line.step < checkpoint.next_step],
        selected_digest=checkpoint.recorded["selected"],
        averaged_digests=averaged,
        environments=environments,
    )


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The differences of two environments, in words; empty if there is none."""
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return "; ".join(f"{name} {before.get(name)} -> {now.get(name)}" for name in changed)


def _inherit(folder: RunFolder, training: RunTraining, prefix: Prefix) -> None:
    training.records, training.annealed = list(prefix.records), list(prefix.annealed)
    if prefix.annealed:
        folder.write_annealed(training.annealed)
    if prefix.records:
        folder.write_records(training.records)
    if prefix.selected is not None:
        folder.write_selected(prefix.selected)
        training.selected_digest = digest(prefix.selected)
    folder.add_timing(training.step, prefix.seconds, inherited=True)
