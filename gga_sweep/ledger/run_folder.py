"""One run's folder in the ledger: what is in it, and who may write it.

| file | content |
|---|---|
| `run.json` | configuration, fingerprint, start time of the first attempt |
| `records.jsonl` | one line an evaluation; deterministic |
| `annealing.jsonl` | one line an annealed step, of either method; deterministic |
| `averaged.jsonl` | of a run that averages its weights: their evaluation, in one line, at its end; deterministic |
| `timings.jsonl` | seconds by phase, one line a slice; volatile |
| `checkpoint` | to resume from |
| `selected` | safetensors of the best validation step so far; deterministic |
| `averaged` | safetensors of the averaged weights; deterministic |
| `status.json` | state, reason, last step |
| `attempts/` | one file for each start; only the newest attempt may write |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Literal

import msgspec

from gga_sweep.errors import AttemptSupersededError, DamagedFileError, first_line
from gga_sweep.ledger.json_codec import (
    digest,
    dump,
    dump_lines,
    parse_annealed,
    parse_averaged,
    parse_records,
    parse_timings,
)
from gga_sweep.ledger.store import FileStat, LedgerStore
from gga_sweep.records import (
    FINAL,
    AnnealedStep,
    AnnealingLine,
    Averaged,
    NoisyStep,
    Record,
    RunResult,
    RunState,
    RunStatus,
)
from gga_sweep.spec.models import RunSpec

Kept = Literal["none", "selected", "all"]
"""What stays of a final run to load: nothing, the selected weights, or its last checkpoint too."""

LEFT_RUNNING = "its launch ended without a word"
"""Why a run is PREEMPTED that nobody trains and nobody stopped."""

Weights = Literal["selected", "averaged"]
"""The files of weights: those of the best validation step, and the averaged ones of a run that averages."""

AVERAGED = ("averaged.jsonl", "averaged")
"""What the end of a run that averages its weights leaves."""

DETERMINISTIC = ("records.jsonl", "annealing.jsonl", "selected", *AVERAGED)
"""The files that two trainings of a run must have alike."""


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
    config: RunSpec
    dataset_digest: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    normalise: bool
    fingerprint: Mapping[str, str]
    start_time: float
    split_digests: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredRun(RunResult):
    """All that a run's folder tells, weights and checkpoint apart."""

    header: RunHeader | None = None


class _Header(msgspec.Struct):
    """As it stands in the file."""

    key: str
    config: dict[str, Any]
    dataset_digest: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    normalise: bool
    fingerprint: dict[str, str]
    start_time: float
    split_digests: dict[str, tuple[str, str]] = {}


class _Owner(msgspec.Struct):
    """What an attempt's file may say."""

    host: str | None = None


_HEADER = msgspec.json.Decoder(_Header)
_OWNER = msgspec.json.Decoder(_Owner)
_STATE = msgspec.json.Decoder(RunState)

_RECORDED = ("records.jsonl", "annealing.jsonl", "averaged.jsonl")
_RESULT_FILES = ("status.json", *_RECORDED, "timings.jsonl")

MANY = 8
"""Runs of which a storage is asked at once; of fewer one by one, for a ledger may hold many more."""

RunFiles = Mapping[str, FileStat]
"""What a run's folder holds, by path from there, as its storage tells without reading it."""


def list_runs(store: LedgerStore) -> dict[str, dict[str, FileStat]]:
    """The files of every run that was started, by its name: one listing, however many there are."""
    found: dict[str, dict[str, FileStat]] = {}
    for path, stat in store.stats("runs").items():
        name, in_folder, file = path.partition("/")
        if in_folder:
            found.setdefault(name, {})[file] = stat
    return found


def files_of(store: LedgerStore, names: Collection[str]) -> Mapping[str, RunFiles]:
    """The files of at least these runs, by name; a run without any may be missing."""
    if len(names) < MANY:
        return {name: RunFolder(store, name).list_files() for name in names}
    return list_runs(store)


def result_stamp(files: RunFiles) -> str:
    """Equal as long as none of the files that `RunFolder.read_result` reads was replaced."""
    return " ".join(files[name].stamp if name in files else "-" for name in _RESULT_FILES)


class RunFolder:
    """Reads for everybody; writes for the newest attempt alone."""

    def __init__(self, store: LedgerStore, name: str) -> None:
        self.name = name
        self.store = store
        self._path = f"runs/{name}"
        self._attempt: int | None = None

    def read(self) -> StoredRun:
        result, header = self.read_result(), None
        try:
            header = self.read_header()
        except DamagedFileError as error:
            result = RunResult(result.folder, RunState(RunStatus.FAILED, str(error)), seconds=result.seconds)
        return StoredRun(**{item.name: getattr(result, item.name) for item in fields(RunResult)}, header=header)

    def read_result(self, files: RunFiles | None = None) -> RunResult:
        """A run with a damaged file has failed, for that reason, and shows no evaluation.

        Args:
            files: of the folder, as they were just listed; None lists them. Only these are read, each once.
        """
        files = self.list_files() if files is None else files
        while True:
            contents = {name: self.read_file(name) for name in _RESULT_FILES if name in files}
            try:
                return self._result(contents)
            except DamagedFileError as error:
                before, files = files, self.list_files()
                if result_stamp(files) == result_stamp(before):  # else it is written just now
                    failed = RunState(RunStatus.FAILED, str(error))
                    seconds, inherited = parse_timings(contents.get("timings.jsonl"))
                    return RunResult(self.name, failed, seconds=seconds, inherited_seconds=inherited)

    def list_files(self) -> dict[str, FileStat]:
        """What the folder holds; see `RunFiles`."""
        return self.store.stats(self._path)

    def read_header(self) -> RunHeader | None:
        """None before the first attempt.

        Raises:
            DamagedFileError: as every reader of one file here, when that is what it is.
        """
        content = self.read_file("run.json")
        if content is None:
            return None
        with self._damage("run.json"):
            found = _HEADER.decode(content)
            values = {name: getattr(found, name) for name in found.__struct_fields__}
            return RunHeader(**{**values, "config": RunSpec.model_validate(found.config)})

    def readable_header(self) -> RunHeader | None:
        """None also where it is damaged."""
        try:
            return self.read_header()
        except DamagedFileError:
            return None

    def read_state(self) -> RunState:
        return self._state(self.read_file("status.json"))

    def read_records(self) -> tuple[Record, ...]:
        return self._records(self.read_file("records.jsonl"))

    def read_annealed(self) -> tuple[AnnealingLine, ...]:
        return self._annealed(self.read_file("annealing.jsonl"))

    def read_averaged(self) -> Averaged | None:
        return self._averaged(self.read_file("averaged.jsonl"))

    def read_seconds(self) -> dict[str, float]:
        """Device seconds by phase, over all slices and attempts, and what it inherited."""
        seconds, _ = self.read_timings()
        return seconds

    def read_timings(self) -> tuple[dict[str, float], float]:
        """The same, and how many of them it inherited."""
        return parse_timings(self.read_file("timings.jsonl"))

    def read_checkpoint(self) -> bytes | None:
        return self.read_file("checkpoint")

    def read_selected(self) -> bytes | None:
        return self.read_file("selected")

    def intact_selected(self) -> bytes | None:
        """The selected weights of a final run; None where they are gone, or are not what the run left."""
        try:
            self._check_digests(self.read_state(), ("selected",), self.read_file)
        except DamagedFileError:
            return None
        return self.read_selected()

    def selected_record(self) -> Record | None:
        """The evaluation whose weights `selected` holds: of the best validation step, the first among equals."""
        records = [record for record in self.read_records() if record.validation.accuracy >= 0]  # NaN is not
        return max(records, key=lambda record: record.validation.accuracy, default=None)

    def record_of(self, weights: Weights) -> Record | None:
        """The evaluation of the weights in this file."""
        if weights == "selected":
            return self.selected_record()
        averaged = self.read_averaged()
        return None if averaged is None else averaged.record

    def read_file(self, name: str) -> bytes | None:
        """One of the folder's files as it is; None if it is not there."""
        return self.store.read(f"{self._path}/{name}")

    def newest_attempt(self) -> int:
        """0 when the run was never started."""
        names = self.store.list(f"{self._path}/attempts")
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def read_host(self, attempt: int) -> str | None:
        """The host that an attempt trains on, as it said when it started; None where it said nothing."""
        content = self.read_file(f"attempts/{attempt:06d}")
        try:
            return None if content is None else _OWNER.decode(content).host
        except msgspec.DecodeError:
            return None

    def claim(self, owner: Mapping[str, object]) -> int:
        """Start a new attempt: from here on, every older writer's next write raises."""
        number = self.newest_attempt() + 1
        while not self.store.put_if_absent(f"{self._path}/attempts/{number:06d}", dump(owner).encode()):
            number += 1
        self._attempt = number
        return number

    def write_header(self, header: RunHeader, anew: bool = False) -> None:
        """Written once, unless `anew`: the start time of the first attempt stays."""
        config = header.config.model_dump(mode="json")
        if config["training"]["averaging"] is None:
            del config["training"]["averaging"]  # so that older versions can read it
        content = {
            "key": header.key,
            "config": config,
            "dataset_digest": header.dataset_digest,
            "classes": header.classes,
            "input_shape": header.input_shape,
            "normalise": header.normalise,
            "fingerprint": header.fingerprint,
            "start_time": header.start_time,
            "split_digests": header.split_digests,
        }
        if anew or self.readable_header() is None:
            self._write("run.json", dump(content).encode())

    def write_records(self, records: Sequence[Record]) -> None:
        self._write("records.jsonl", dump_lines(records))

    def write_annealed(self, annealed: Sequence[AnnealingLine]) -> None:
        self._write("annealing.jsonl", dump_lines(annealed))

    def add_timing(self, step: int, seconds: Mapping[str, float], inherited: bool = False) -> None:
        line = {"step": step, "attempt": self._attempt, "seconds": seconds, "inherited": inherited}
        self._write("timings.jsonl", (self.read_file("timings.jsonl") or b"") + dump_lines([line]))

    def write_checkpoint(self, content: bytes) -> None:
        self._write("checkpoint", content)

    def write_selected(self, content: bytes) -> None:
        self._write("selected", content)

    def write_averaged(self, averaged: Averaged, weights: bytes) -> None:
        self._write("averaged", weights)
        self._write("averaged.jsonl", dump_lines([averaged]))

    def delete_averaged(self) -> None:
        """What an attempt left that was lost between this and its last status."""
        for name in AVERAGED:
            if self.read_file(name) is not None:
                self._delete(name)

    def delete_checkpoint(self) -> None:
        self._delete("checkpoint")

    def delete_training(self) -> None:
        """All that training left, so that it begins at step 0; the checkpoint first, or it would go on from there."""
        for name in ("checkpoint", *DETERMINISTIC):
            self._delete(name)

    def write_state(
        self, status: RunStatus, step: int, reason: str | None = None, environments: Sequence[str] = ()
    ) -> None:
        """A final state is written with the digests of what the run leaves."""
        state = RunState(
            status, reason, step, self._attempt or 0, environments=tuple(environments), written=time.time()
        )
        if status in FINAL:
            state = replace(state, digests=self.digests())
        self._write("status.json", dump(state).encode())

    def mark(self, status: RunStatus, reason: str | None = None) -> None:
        """Set the state from outside (the driver, when the actor is gone). Outdates the actor's attempt."""
        try:
            state = self.read_state()
        except DamagedFileError:
            state = RunState()
        self.claim({"marked": status})
        self.write_state(status, state.step, reason, state.environments)

    def requeue(self, reason: str) -> None:
        """Forget all training: the run begins anew at step 0, under a new start time. Seconds spent stay counted."""
        self.claim({"requeued": reason})
        self.delete_training()
        self._delete("run.json")
        self.write_state(RunStatus.QUEUED, -1, reason)

    def discard_weights(self) -> None:
        """Remove the weights of a final run, and say so in its state. Only who holds the sweep may."""
        state = self.read_state()
        state = replace(state, removed=("selected", *(["averaged"] if "averaged" in state.digests else [])))
        self.store.replace(f"{self._path}/status.json", dump(state).encode())
        for name in state.removed:
            self.store.delete(f"{self._path}/{name}")

    def discard_checkpoint(self) -> None:
        """Remove the checkpoint of a final run. Only who holds the sweep may."""
        self.store.delete(f"{self._path}/checkpoint")

    def digests(self) -> dict[str, str]:
        """By name, of the deterministic files that are there."""
        contents = ((name, self.read_file(name)) for name in DETERMINISTIC)
        return {name: digest(content) for name, content in contents if content is not None}

    def check_digests(self) -> None:
        """Whether a final run's files are still what it left.

        Raises:
            DamagedFileError: naming the first that is not.
        """
        self._check_digests(self.read_state(), DETERMINISTIC, self.read_file)

    def _result(self, contents: Mapping[str, bytes | None]) -> RunResult:
        """What these files tell, by name."""
        state = self._state(contents.get("status.json"))
        self._check_digests(state, _RECORDED, contents.get)
        seconds, inherited = parse_timings(contents.get("timings.jsonl"))
        annealed = self._annealed(contents.get("annealing.jsonl"))
        return RunResult(
            folder=self.name,
            state=state,
            records=self._records(contents.get("records.jsonl")),
            searches=tuple(line for line in annealed if isinstance(line, AnnealedStep)),
            noisy_steps=tuple(line for line in annealed if isinstance(line, NoisyStep)),
            seconds=seconds,
            inherited_seconds=inherited,
            averaged=self._averaged(contents.get("averaged.jsonl")),
        )

    def _state(self, content: bytes | None) -> RunState:
        if content is None:
            return RunState()
        with self._damage("status.json"):
            return _STATE.decode(content)

    def _records(self, content: bytes | None) -> tuple[Record, ...]:
        with self._damage("records.jsonl"):
            records = parse_records(content)
            _require_ascending([record.step for record in records])
            if not all(record.validation.domains for record in records):
                raise ValueError("an evaluation of no domain")
            return records

    def _annealed(self, content: bytes | None) -> tuple[AnnealingLine, ...]:
        with self._damage("annealing.jsonl"):
            lines = parse_annealed(content)
            _require_ascending([line.step for line in lines])
            if len({type(line) for line in lines}) > 1:
                raise ValueError("steps of two methods")
            return lines

    def _averaged(self, content: bytes | None) -> Averaged | None:
        with self._damage("averaged.jsonl"):
            return parse_averaged(content)

    def _check_digests(self, state: RunState, names: Sequence[str], read: Callable[[str], bytes | None]) -> None:
        for name in names if state.digests else ():
            content, expected = read(name), state.digests.get(name)
            if content is None and expected is not None and name not in state.removed:
                raise DamagedFileError(f"run {self.name}: its {name} is missing")
            if content is not None and digest(content) != expected:
                raise DamagedFileError(f"run {self.name}: its {name} is not what the run left")

    @contextmanager
    def _damage(self, file: str) -> Iterator[None]:
        """Whatever a parser says of a broken file, as one kind of error."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DamagedFileError(f"run {self.name}: its {file} is damaged: {first_line(error)}") from error

    def _delete(self, file: str) -> None:
        self._check_owner()
        self.store.delete(f"{self._path}/{file}")

    def _write(self, file: str, content: bytes) -> None:
        self._check_owner()
        self.store.replace(f"{self._path}/{file}", content)

    def _check_owner(self) -> None:
        newest = self.newest_attempt()
        if self._attempt is None or newest != self._attempt:
            raise AttemptSupersededError(
                f"run {self.name}: attempt {self._attempt} may not write any more, the newest is {newest}"
            )


def _require_ascending(steps: Sequence[int]) -> None:
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError("steps that do not ascend")
