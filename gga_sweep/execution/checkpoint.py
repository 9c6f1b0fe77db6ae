"""A run's checkpoint: the trainer's state, and the digests of the files in the run's folder that it goes on with."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gga_sweep.ledger.json_codec import digest, dump_lines
from gga_sweep.ledger.run_reader import AVERAGED, ReadFile
from gga_sweep.records import AnnealingLine, Record
from gga_sweep.training.checkpoint import dump_state, parse_state

_ALWAYS_RECORDED = ("records.jsonl", "annealing.jsonl", "selected")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a run's `checkpoint`.

    Args:
        training: the trainer's state.
        recorded: by name, the digests of the files when it was written; None for weights that did not exist yet.
        environment: the environment it was written in.
        environments: each change of the environment before, in words.
    """

    training: Mapping[str, Any]
    recorded: Mapping[str, str | None]
    environment: Mapping[str, str]
    environments: Sequence[str]

    @property
    def next_step(self) -> int:
        """The number of steps done."""
        return int(self.training["next_step"])

    def faults(
        self,
        records: Sequence[Record],
        annealed: Sequence[AnnealingLine],
        read: ReadFile,
        metric: str,
        removed: Collection[str] = (),
    ) -> Iterator[str]:
        """The files of the run's folder that are not what the checkpoint was written with.

        Later lines do not count: these steps are trained again, to the same bits. Neither do selected weights that a
        later evaluation replaced.

        Args:
            records, annealed: what the folder holds.
            read: reads the other files.
            metric: by which the run keeps its best weights.
            removed: weights that were removed on purpose.
        """
        before, later = self.split(records)
        replaced = best_validation(later, metric) > best_validation(before, metric)
        contents: dict[str, bytes | None] = {
            "records.jsonl": dump_lines(before),
            "annealing.jsonl": dump_lines(line for line in annealed if line.step < self.next_step),
        }
        for name in ("selected", *(name for name in AVERAGED if name in self.recorded)):
            if name not in removed and not (name == "selected" and replaced):
                contents[name] = read(name)
        return (name for name, content in contents.items() if not self.has_recorded(name, content))

    def has_recorded(self, name: str, content: bytes | None) -> bool:
        """Whether the file had this content when the checkpoint was written."""
        return (None if content is None else digest(content)) == self.recorded[name]

    def split(self, records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
        """The evaluations before the checkpoint, and the later ones."""
        before = [record for record in records if record.step < self.next_step]
        return before, [record for record in records if record.step >= self.next_step]


def dump_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as the file holds it."""
    return dump_state(
        {
            **checkpoint.training,
            "recorded": checkpoint.recorded,
            "environment": checkpoint.environment,
            "environments": checkpoint.environments,
        }
    )


def parse_checkpoint(content: bytes) -> Checkpoint:
    """The inverse of `dump_checkpoint`.

    Raises:
        Exception: whatever damaged content leads to, here or in torch.
    """
    state = parse_state(content)
    checkpoint = Checkpoint(state, state["recorded"], state["environment"], state["environments"])
    if missing := {"next_step", *_ALWAYS_RECORDED} - {*state, *checkpoint.recorded}:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    return checkpoint


def best_validation(records: Sequence[Record], metric: str) -> float:
    """The highest validation mean, without NaN; -1 if there is none, so that every other one exceeds it."""
    means = (record.validation.validation_mean(metric) for record in records)
    return max((mean for mean in means if mean >= 0), default=-1.0)
