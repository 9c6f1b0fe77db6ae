"""One run's folder in the ledger: what is in it, and who may write it.

| file | content |
|---|---|
| `run.json` | configuration, fingerprint, start time of the first attempt |
| `records.jsonl` | one line an evaluation; deterministic |
| `annealing.jsonl` | one line an annealed step, of either method; deterministic |
| `timings.jsonl` | seconds by phase, one line a slice; volatile |
| `checkpoint` | to resume from |
| `selected` | safetensors of the best validation step so far; deterministic |
| `status.json` | state, reason, last step |
| `attempts/` | one file for each start; only the newest attempt may write |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from gga_sweep.config import RunConfig
from gga_sweep.errors import AttemptSupersededError, GGASweepError
from gga_sweep.ledger.lines import dump, dump_lines, parse_annealed, parse_lines, parse_records
from gga_sweep.ledger.store import LedgerStore
from gga_sweep.records import AnnealingLine, Record, RunStatus


@dataclass(frozen=True, slots=True)
class RunHeader:
    """`run.json`.

    Args:
        key: the full key; the folder's name holds its first 8 digits.
        config: the resolved run.
        dataset_digest: of the dataset it was trained on.
        classes: class names, in label order.
        input_shape: (channels, height, width) of the network's input.
        normalise: whether its input is normalised by ImageNet's mean and standard deviation.
        fingerprint: versions, device, CPU capability: what the key leaves out.
        start_time: seconds since the epoch, of the first attempt.
        split_digests: by domain, of its training and its validation split; empty in a folder of an older version, and
            where the domains could not be split.
    """

    key: str
    config: RunConfig
    dataset_digest: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    normalise: bool
    fingerprint: Mapping[str, str]
    start_time: float
    split_digests: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunState:
    """`status.json`. `step` is the last step trained; -1 before the first."""

    status: RunStatus = RunStatus.QUEUED
    reason: str | None = None
    step: int = -1
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run.

    Args:
        folder: its name.
        records, annealed: by ascending step.
        seconds: device seconds spent so far, by phase.
    """

    folder: str
    state: RunState
    records: tuple[Record, ...] = ()
    annealed: tuple[AnnealingLine, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredRun(RunResult):
    """All that a run's folder tells, weights and checkpoint apart."""

    header: RunHeader | None = None


_STATE = msgspec.json.Decoder(RunState)

_RESULT_FILES = ("status.json", "records.jsonl", "annealing.jsonl", "timings.jsonl")


class RunFolder:
    """Reads for everybody; writes for the newest attempt alone."""

    def __init__(self, store: LedgerStore, name: str) -> None:
        self.name = name
        self._store = store
        self._path = f"runs/{name}"
        self._attempt: int | None = None

    def read(self) -> StoredRun:
        result = self.read_result()
        return StoredRun(
            folder=self.name,
            state=result.state,
            records=result.records,
            annealed=result.annealed,
            seconds=result.seconds,
            header=self.read_header(),
        )

    def read_result(self) -> RunResult:
        return RunResult(
            folder=self.name,
            state=self.read_state(),
            records=self.read_records(),
            annealed=self.read_annealed(),
            seconds=self.read_seconds(),
        )

    def result_stamp(self) -> str:
        """Equal as long as none of the files that `read_result` reads was replaced."""
        return " ".join(self._store.stamp(f"{self._path}/{name}") or "-" for name in _RESULT_FILES)

    def read_header(self) -> RunHeader | None:
        content = self.read_file("run.json")
        if content is None:
            return None
        value = json.loads(content)
        value["config"] = RunConfig.model_validate(value["config"])
        value["classes"] = tuple(value["classes"])
        value["input_shape"] = tuple(value["input_shape"])
        value["split_digests"] = {name: tuple(pair) for name, pair in value.get("split_digests", {}).items()}
        return RunHeader(**value)

    def read_state(self) -> RunState:
        content = self.read_file("status.json")
        return RunState() if content is None else _STATE.decode(content)

    def read_records(self) -> tuple[Record, ...]:
        return parse_records(self.read_file("records.jsonl"))

    def read_annealed(self) -> tuple[AnnealingLine, ...]:
        return parse_annealed(self.read_file("annealing.jsonl"))

    def read_seconds(self) -> dict[str, float]:
        """Device seconds by phase, over all slices and attempts."""
        seconds: dict[str, float] = {}
        for line in parse_lines(self.read_file("timings.jsonl")):
            for phase, value in line["seconds"].items():
                seconds[phase] = seconds.get(phase, 0.0) + value
        return seconds

    def read_checkpoint(self) -> bytes | None:
        return self.read_file("checkpoint")

    def read_selected(self) -> bytes | None:
        return self.read_file("selected")

    def selected_record(self) -> Record | None:
        """The evaluation whose weights `selected` holds: of the best validation step, the first among equals."""
        records = [record for record in self.read_records() if record.validation.accuracy >= 0]  # NaN is not
        return max(records, key=lambda record: record.validation.accuracy, default=None)

    def read_file(self, name: str) -> bytes | None:
        """One of the folder's files as it is; None if it is not there."""
        return self._store.read(f"{self._path}/{name}")

    def newest_attempt(self) -> int:
        """0 when the run was never started."""
        return max((int(name) for name in self._store.list(f"{self._path}/attempts")), default=0)

    def claim(self, owner: Mapping[str, object]) -> int:
        """Start a new attempt: from here on, every older writer's next write raises."""
        number = self.newest_attempt() + 1
        while not self._store.put_if_absent(f"{self._path}/attempts/{number:06d}", dump(owner).encode()):
            number += 1
        self._attempt = number
        return number

    def write_header(self, header: RunHeader) -> None:
        """Written once: the start time of the first attempt stays. Raises if another run already lives here."""
        content = {
            "key": header.key,
            "config": header.config.model_dump(mode="json"),
            "dataset_digest": header.dataset_digest,
            "classes": header.classes,
            "input_shape": header.input_shape,
            "normalise": header.normalise,
            "fingerprint": header.fingerprint,
            "start_time": header.start_time,
            "split_digests": header.split_digests,
        }
        self._check_owner()
        if not self._store.put_if_absent(f"{self._path}/run.json", dump(content).encode()):
            present = self.read_header()
            if present is not None and present.key != header.key:
                raise GGASweepError(f"two runs want the folder {self.name}: {present.key} and {header.key}")

    def write_records(self, records: Sequence[Record]) -> None:
        self._write("records.jsonl", dump_lines(records))

    def write_annealed(self, annealed: Sequence[AnnealingLine]) -> None:
        self._write("annealing.jsonl", dump_lines(annealed))

    def add_timing(self, step: int, seconds: Mapping[str, float]) -> None:
        line = {"step": step, "attempt": self._attempt, "seconds": seconds}
        self._write("timings.jsonl", (self.read_file("timings.jsonl") or b"") + dump_lines([line]))

    def write_checkpoint(self, content: bytes) -> None:
        self._write("checkpoint", content)

    def write_selected(self, content: bytes) -> None:
        self._write("selected", content)

    def delete_checkpoint(self) -> None:
        self._check_owner()
        self._store.delete(f"{self._path}/checkpoint")

    def write_state(self, status: RunStatus, step: int, reason: str | None = None) -> None:
        self._write("status.json", dump(RunState(status, reason, step, self._attempt or 0)).encode())

    def mark(self, status: RunStatus, reason: str | None = None) -> None:
        """Set the state from outside (the driver, when the actor is gone). Outdates the actor's attempt."""
        step = self.read_state().step
        self.claim({"marked": status})
        self.write_state(status, step, reason)

    def _write(self, file: str, content: bytes) -> None:
        self._check_owner()
        self._store.replace(f"{self._path}/{file}", content)

    def _check_owner(self) -> None:
        newest = self.newest_attempt()
        if self._attempt is None or newest != self._attempt:
            raise AttemptSupersededError(
                f"run {self.name}: attempt {self._attempt} may not write any more, the newest is {newest}"
            )
