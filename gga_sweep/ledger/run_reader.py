"""Reading one run's folder in the ledger.

| file | content |
|---|---|
| `run.json` | configuration, fingerprint, start time of the first attempt |
| `records.jsonl` | one line an evaluation; deterministic |
| `annealing.jsonl` | one line an annealed step, of either method; deterministic |
| `averaged.jsonl` | of a run that averages its weights: their evaluation, in one line, at its end; deterministic |
| `timings.jsonl` | seconds by phase, one line a slice; volatile |
| `system.jsonl` | measurements of the machine, on request, one line each; volatile |
| `checkpoint` | to resume from |
| `selected` | safetensors of the best validation step so far; deterministic |
| `averaged` | safetensors of the averaged weights; deterministic |
| `status.json` | state, reason, last step |
| `attempts/` | one file for each start; only the newest attempt may write |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from operator import itemgetter
from typing import Literal

import msgspec

from gga_sweep.errors import DamagedFileError, first_line
from gga_sweep.ledger.json_codec import digest, parse_annealed, parse_averaged, parse_records, parse_timings
from gga_sweep.ledger.run_header import RunHeader, parse_header
from gga_sweep.ledger.store import FileStat, LedgerStore
from gga_sweep.records import (
    AnnealedStep,
    AnnealingLine,
    Averaged,
    NoisyStep,
    Record,
    RunResult,
    RunState,
    RunStatus,
)

Weights = Literal["selected", "averaged"]
"""The files of weights: those of the best validation step, and the averaged ones of a run that averages."""

AVERAGED = ("averaged.jsonl", "averaged")
"""What the end of a run that averages its weights leaves."""

DETERMINISTIC = ("records.jsonl", "annealing.jsonl", "selected", *AVERAGED)
"""The files that two trainings of a run must have alike."""

_RECORDED = ("records.jsonl", "annealing.jsonl", "averaged.jsonl")
_RESULT_FILES = ("status.json", *_RECORDED, "timings.jsonl")

MANY = 8
"""From this number of runs on, one listing of all runs is quicker than one listing for each of them."""

RunFiles = Mapping[str, FileStat]
"""The files of a run's folder, by their paths in there, as the storage lists them."""

ReadFile = Callable[[str], bytes | None]
"""Returns the content of one of a run's files by its name; None if it does not exist."""


def list_runs(store: LedgerStore) -> dict[str, dict[str, FileStat]]:
    """The files of every run that was started, by its name: one listing, however many there are."""
    found: dict[str, dict[str, FileStat]] = {}
    for path, stat in store.stats("runs").items():
        name, in_folder, file = path.partition("/")
        if in_folder:
            found.setdefault(name, {})[file] = stat
    return found


def files_of(store: LedgerStore, names: Collection[str]) -> Mapping[str, RunFiles]:
    """The files of at least these runs, by name; a run without files may be absent."""
    if len(names) < MANY:
        return {name: store.stats(f"runs/{name}") for name in names}
    return list_runs(store)


def result_stamp(files: RunFiles) -> str:
    """Equal as long as none of the files that `RunReader.read_result` reads was replaced."""
    return " ".join(files[name].stamp if name in files else "-" for name in _RESULT_FILES)


def digest_faults(state: RunState, names: Iterable[str], read: ReadFile) -> Iterator[tuple[str, str]]:
    """Each of these files of a final run that is not as the run left it, and what is wrong with it."""
    for name in names if state.digests else ():
        content, expected = read(name), state.digests.get(name)
        if content is None and expected is not None and name not in state.removed:
            yield name, "is missing"
        elif content is not None and digest(content) != expected:
            yield name, "is not what the run left"


class _Owner(msgspec.Struct):
    """What an attempt's file may hold."""

    host: str | None = None
    trial: str | None = None


_OWNER = msgspec.json.Decoder(_Owner)
_STATE = msgspec.json.Decoder(RunState)


class RunReader:
    """One run's folder, to be read. Any process may read any run at any time."""

    def __init__(self, store: LedgerStore, name: str) -> None:
        self.name = name
        self.store = store
        self._path = f"runs/{name}"

    def read_result(self, files: RunFiles | None = None) -> RunResult:
        """What the run has left so far. A run with a damaged file counts as FAILED, without evaluations.

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
                if result_stamp(files) == result_stamp(before):  # otherwise a writer replaced some of them meanwhile
                    failed = RunState(RunStatus.FAILED, str(error))
                    seconds, inherited = parse_timings(contents.get("timings.jsonl"))
                    return RunResult(self.name, failed, seconds=seconds, inherited_seconds=inherited)

    def list_files(self) -> dict[str, FileStat]:
        """Lists the folder; see `RunFiles`."""
        return self.store.stats(self._path)

    def read_header(self) -> RunHeader | None:
        """None before the first attempt.

        Raises:
            DamagedFileError: the file is damaged; so do the other readers of one file.
        """
        content = self.read_file("run.json")
        if content is None:
            return None
        with self._damage("run.json"):
            return parse_header(content)

    def readable_header(self) -> RunHeader | None:
        """The header; None also if it is damaged."""
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
        """Device seconds by phase, over all slices and attempts, inherited ones included."""
        seconds, _ = parse_timings(self.read_file("timings.jsonl"))
        return seconds

    def read_checkpoint(self) -> bytes | None:
        return self.read_file("checkpoint")

    def read_selected(self) -> bytes | None:
        return self.read_file("selected")

    def intact_selected(self) -> bytes | None:
        """The selected weights of a final run; None if they were removed or are not what the run left."""
        try:
            self._check_digests(self.read_state(), ("selected",), self.read_file)
        except DamagedFileError:
            return None
        return self.read_selected()

    def selected_record(self) -> Record | None:
        """The evaluation whose weights `selected` holds: of the best validation step, the first among equals."""
        if (header := self.readable_header()) is None:
            return None
        scored = [(record.validation.validation_mean(header.config.metric), record) for record in self.read_records()]
        known = [(score, record) for score, record in scored if score >= 0]  # without NaN
        return max(known, key=itemgetter(0), default=(math.nan, None))[1]

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
        """The host that an attempt trains on; None if its file does not hold one."""
        return self._owner(attempt).host

    def read_trial(self, attempt: int) -> str | None:
        """The trial of a user's own Tuner that an attempt belongs to; None if its file does not hold one."""
        return self._owner(attempt).trial

    def _owner(self, attempt: int) -> _Owner:
        try:
            return _OWNER.decode(self.read_file(f"attempts/{attempt:06d}") or b"{}")
        except msgspec.DecodeError:
            return _Owner()

    def digests(self) -> dict[str, str]:
        """By name, of the deterministic files that exist."""
        contents = ((name, self.read_file(name)) for name in DETERMINISTIC)
        return {name: digest(content) for name, content in contents if content is not None}

    def check_digests(self) -> None:
        """Check that a final run's files are still what it left.

        Raises:
            DamagedFileError: naming the first that is not.
        """
        self._check_digests(self.read_state(), DETERMINISTIC, self.read_file)

    def _result(self, contents: Mapping[str, bytes | None]) -> RunResult:
        """The result that these files hold, by name."""
        state = self._state(contents.get("status.json"))
        self._check_digests(state, _RECORDED, contents.get)
        annealed = self._annealed(contents.get("annealing.jsonl"))
        records = self._records(contents.get("records.jsonl"))
        averaged = self._averaged(contents.get("averaged.jsonl"))
        return make_result(self.name, state, records, annealed, averaged, contents.get("timings.jsonl"))

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

    def _check_digests(self, state: RunState, names: Sequence[str], read: ReadFile) -> None:
        for name, fault in digest_faults(state, names, read):
            raise DamagedFileError(f"run {self.name}: its {name} {fault}")

    @contextmanager
    def _damage(self, file: str) -> Iterator[None]:
        """Turns any error of a parser into a DamagedFileError."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DamagedFileError(f"run {self.name}: its {file} is damaged: {first_line(error)}") from error


class RunSnapshot(RunReader):
    """One run's folder, of which each file is read once and then kept."""

    def __init__(self, store: LedgerStore, name: str) -> None:
        super().__init__(store, name)
        self._contents: dict[str, bytes | None] = {}

    def read_file(self, name: str) -> bytes | None:
        if name not in self._contents:
            self._contents[name] = super().read_file(name)
        return self._contents[name]


def make_result(
    name: str,
    state: RunState,
    records: Sequence[Record],
    annealed: Sequence[AnnealingLine],
    averaged: Averaged | None,
    timings: bytes | None,
) -> RunResult:
    """The result of a run from the contents of its files; `timings` as in `timings.jsonl`."""
    seconds, inherited = parse_timings(timings)
    return RunResult(
        folder=name,
        state=state,
        records=records,
        searches=tuple(line for line in annealed if isinstance(line, AnnealedStep)),
        noisy_steps=tuple(line for line in annealed if isinstance(line, NoisyStep)),
        seconds=seconds,
        inherited_seconds=inherited,
        averaged=averaged,
    )


def _require_ascending(steps: Sequence[int]) -> None:
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError("steps that do not ascend")
