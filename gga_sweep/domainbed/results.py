"""Reading a tree of DomainBed, or of a program with swad's trainer: DIR/<run folder>/results.jsonl, a record a line.

Folders are read in the order of their names, lines in the order of the file. (DomainBed's order is that of
`os.listdir`, which is unspecified.) A run is a key (dataset, algorithm, test_envs, trial_seed, hparams_seed) in a
folder. The file `done`, which DomainBed writes at the end of a run, is counted but has no effect, as in DomainBed.

Of swad's family (`swad_family`), a folder holds the runs of all targets. Its log.txt adds the runs of averaged weights,
and replaces a results.jsonl that is missing. Folders are found at any depth. Draws are the different hyperparameters of
an algorithm, numbered as they come.

Faults are listed by file and line. `strict` refuses them; otherwise:

| found                                                          | here (in DomainBed)                                |
|----------------------------------------------------------------|----------------------------------------------------|
| a line that is no JSON object (a write that was cut off)       | left out (DomainBed crashes)                       |
| `args` without one of the key's fields, or of another type     | left out (crashes, or counts it in no table)       |
| `step` missing, or no whole number from 0                      | left out (crashes)                                 |
| no `env{i}_out_acc` of a domain up to the highest, no `in` or  | left out (crashes, or averages the domains before  |
| `out` of a test domain                                         | the gap)                                           |
| an accuracy outside [0, 1], or no number; NaN is none of these | left out (computes with it)                        |
| another number of domains than most records of the dataset     | left out (averages what each record has)           |
| results.jsonl that cannot be opened, is no regular file, is    | left out (the same, silently)                      |
| larger than 64 MiB, or holds no line                           |                                                    |
| a log.txt that cannot be opened, or is not of swad's trainer   | left out (never read)                              |
| a line of log.txt that is cut off, the last one too            | left out (never read)                              |
| no `env{i}_in_acc` of a training domain, which nothing reads   | used (the same, silently)                          |
| a file whose records differ in key                             | used, each under its own key (the same, silently)  |
| other numbers for a step of a run, in one file or two          | used, all of them candidates (the same, silently)  |
| no usable record at all                                        | always refused                                     |

Counted, and no fault: the same numbers twice for a step of a run (a run repeated in its old folder), runs without
`done`, runs with several test domains. Blank lines are skipped, and a last line without its line feed is read; both
crash DomainBed.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gga_sweep.domainbed.swad_family import AVERAGED, LOG, program_of, read_log, settings_of
from gga_sweep.errors import Fault, InputError
from gga_sweep.input_files import read_regular

RESULTS = "results.jsonl"
DOMAINBED = "DomainBed"
_MAX_STEP = 2**62
_OUT = b'_out_acc"'
_LARGEST_FILE = 2**26
_LONGEST_LINE = 2**20
_MOST_FOLDERS = 10_000
_OUT_OF_DOMAIN = re.compile(r"env(0|[1-9]\d{0,2})_out(_acc)?")
_LACKING = -1.0
"""In a row, for a missing training split of a training domain."""
_JSON = "must be a JSON object"
_ACCURACIES = "must have the accuracies of its domains without a gap"
_OTHER_KEY = "must have the dataset, algorithm, test_envs, trial_seed and hparams_seed of the file's first record"
_OTHER_PROCESS = "must have the program, dataset, algorithm, trial_seed and hparams of the file's first record"
_OTHER_NUMBERS = "must give the numbers that an earlier record of the same run gives for the same step"


@dataclass(frozen=True, slots=True)
class RunKey:
    """The key of a run in DomainBed.

    Args:
        dataset, algorithm: their names; averaged weights have an algorithm of their own.
        test_domains: DomainBed's `test_envs`, numbers of the held-out domains in dataset order, as written.
        trial_seed: of the splits.
        draw: DomainBed's `hparams_seed`, the number of the hyperparameter draw.
        program: which wrote it: `DOMAINBED`, or one of `swad_family.PROGRAMS`.
        settings: the hyperparameters, of swad's family, which has no number for them.
    """

    dataset: str
    algorithm: str
    test_domains: tuple[int, ...]
    trial_seed: int
    draw: int
    program: str = DOMAINBED
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """The records of one key in one folder, in file order.

    Args:
        key: which run.
        folder: its folder's name.
        done: whether the folder holds the file `done`; of swad's family, whether its log has the target's results.
        lines: (records,), the line of each record in its file, from 1.
        steps: (records,), int64.
        accuracies: (records, 2, domains), float64 in [0, 1] or NaN: of each domain on its training split (`in`, the
            80 %) and on its validation split (`out`). Also NaN for a missing training split of a training domain,
            which nothing here uses.
        file: the name of its file.
    """

    key: RunKey
    folder: str
    done: bool
    lines: Sequence[int]
    steps: NDArray[np.int64]
    accuracies: NDArray[np.float64]
    file: str = RESULTS

    @property
    def training_split(self) -> NDArray[np.float64]:
        """(records, domains): what DomainBed calls `in` accuracies."""
        return self.accuracies[:, 0]

    @property
    def validation_split(self) -> NDArray[np.float64]:
        """(records, domains): what DomainBed calls `out` accuracies."""
        return self.accuracies[:, 1]

    def place(self, record: int) -> str:
        """Where a record stands: folder/results.jsonl:line."""
        return f"{self.folder}/{self.file}:{self.lines[record]}"


@dataclass(frozen=True, slots=True)
class Results:
    """The usable part of a tree, and the faults found.

    Args:
        folder: as it was given.
        runs: by folder, in a folder by first record.
        domains: number of domains of each dataset.
        repeated: records that give a step of a run the numbers it already has.
        lines_left_out: lines of which nothing is used.
        left_out: why, by file and line.
        doubtful: the contradictory records that are used.
        unconverged: places of averaged weights for which SWAD found no valley.
    """

    folder: Path
    runs: tuple[Run, ...]
    domains: Mapping[str, int]
    repeated: int
    lines_left_out: int
    left_out: tuple[Fault, ...]
    doubtful: tuple[Fault, ...]
    unconverged: tuple[str, ...] = ()

    @property
    def files_left_out(self) -> int:
        """Files of which nothing is used, for a reason that no line of theirs gives."""
        return sum(fault.field.endswith((RESULTS, LOG)) for fault in self.left_out)

    @property
    def records(self) -> int:
        """Records used."""
        return sum(len(run.steps) for run in self.runs)


def read_results(folder: Path, strict: bool = False) -> Results:
    """Read every DIR/<run folder>/results.jsonl, and what swad's family writes.

    Args:
        folder: the tree.
        strict: refuse a tree of which anything is left out or doubtful.

    Raises:
        InputError: `folder` is no folder, or nothing in it can be used; with `strict`, every fault found.
    """
    if not folder.is_dir():
        raise InputError([Fault("", "must be a folder")], str(folder))
    files = _read_folders(folder, _folders(folder)) or _read_folders(folder, _folders_with_log(folder))
    if not files:
        raise InputError([Fault("", _where_results_are(folder))], str(folder))
    left_out = [fault for one in files for fault in one.left_out]
    doubtful = [fault for one in files for fault in one.doubtful]
    lines = sum(one.lines_left_out for one in files)
    runs, domains, outliers = _with_equal_domains(_told_apart([run for one in files for run in one.runs]))
    for run in outliers:
        left_out.append(_other_domains(run, domains[run.key.dataset]))
        lines += len(run.steps)
    repeated, conflicts = _compare_repetitions(runs)
    doubtful += conflicts
    if not runs or (strict and (left_out or doubtful)):
        faults = few_of_each_kind([*left_out, *doubtful])
        raise InputError(faults or [Fault("", "holds no record")], str(folder))
    unconverged = tuple(place for one in files for place in one.unconverged)
    return Results(folder, tuple(runs), domains, repeated, lines, tuple(left_out), tuple(doubtful), unconverged)


def few_of_each_kind(faults: Sequence[Fault]) -> list[Fault]:
    """The first three faults of each rule, and how many more there are."""
    kinds: dict[str, list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(fault.rule, []).append(fault)
    few: list[Fault] = []
    for found in kinds.values():
        few += found[:3]
        if len(found) > 3:
            few.append(Fault("", f"{len(found) - 3:,} more faults of this kind"))
    return few


def _folders(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield entry.name


def _folders_with_log(folder: Path) -> list[str]:
    """Those at any depth, from the folder itself on; none if there are too many to look at, as on a whole disk."""
    walk = [*islice(os.walk(folder), _MOST_FOLDERS + 1)]
    found = walk if len(walk) <= _MOST_FOLDERS else []
    return [os.path.relpath(place, folder) for place, _, names in found if LOG in names]


def _where_results_are(folder: Path) -> str:
    rule = f"must hold run folders with a {RESULTS} or {LOG}: DomainBed looks for DIR/*/{RESULTS}"
    walk = islice(os.walk(folder), _MOST_FOLDERS)  # not all of a whole disk
    elsewhere = [str(Path(place).parent) for place, _, names in walk if RESULTS in names]
    if not elsewhere:
        return rule
    trees = list(dict.fromkeys(elsewhere))
    return f"{rule}, and such folders lie in {', '.join(trees[:3])}{' and elsewhere' if len(trees) > 3 else ''}"


@dataclass(slots=True)
class _File:
    """The content of one results.jsonl."""

    runs: list[Run] = field(default_factory=list)
    lines_left_out: int = 0
    left_out: list[Fault] = field(default_factory=list)
    doubtful: list[Fault] = field(default_factory=list)
    unconverged: list[str] = field(default_factory=list)

    def leave_out(self, place: str, problems: Iterable[tuple[str, object]]) -> None:
        """Leave out the line at `place`."""
        self.left_out += [Fault(place, rule, got) for rule, got in problems]
        self.lines_left_out += 1


def _read_folders(tree: Path, folders: Iterable[str]) -> list[_File]:
    return [file for folder in sorted(folders) if (file := _read_folder(tree, folder)) is not None]


def _read_folder(tree: Path, folder: str) -> _File | None:
    """The folder's results; None without any."""
    path = f"{tree}/{folder}"
    contents: dict[str, bytes] = {}
    unread: list[Fault] = []
    for name in (RESULTS, LOG):
        try:
            contents[name] = read_regular(f"{path}/{name}", _LARGEST_FILE)
        except FileNotFoundError:
            continue
        except OSError as error:
            unread.append(Fault(f"{folder}/{name}", f"cannot be read: {error.strerror}"))
    if not contents and not unread:
        return None
    file = _File()
    if RESULTS in contents:
        file = _parse(contents[RESULTS], folder, os.path.exists(f"{path}/done"))  # noqa: PTH110  pathlib takes longer, and there are thousands
    file.left_out += unread
    if LOG in contents and all(run.key.program != DOMAINBED for run in file.runs):
        _add_log(file, contents[LOG], folder)
    return file if file.runs or file.left_out else None


class _UnusableError(Exception):
    """A line that is left out: at least one rule, each with what was found instead."""

    def __init__(self, *problems: tuple[str, object]) -> None:
        self.problems = problems


@dataclass(slots=True)
class _Segment:
    """The records of one key and number of domains in a file, as they come; a row has two numbers a domain."""

    key: RunKey
    width: int
    file: str = RESULTS
    lines: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    rows: list[Sequence[float]] = field(default_factory=list)

    def run(self, folder: str, done: bool) -> Run:
        accuracies = np.array(self.rows, dtype=np.float64).reshape(len(self.rows), 2, -1)
        accuracies[accuracies == _LACKING] = math.nan
        steps = np.array(self.steps, dtype=np.int64)
        return Run(self.key, folder, done, tuple(self.lines), steps, accuracies, self.file)


def _parse(content: bytes, folder: str, done: bool) -> _File:
    lines = content.split(b"\n")
    parser = _Parser(lines[0].count(_OUT))
    file = _File()
    segments: dict[tuple[RunKey, int], _Segment] = {}
    seen: set[RunKey] = set()
    segment: _Segment | None = None
    for number, line in enumerate(lines, 1):
        if not line or line.isspace():
            continue
        try:
            key, step, row = parser.parse(line)
        except _UnusableError as unusable:
            file.leave_out(f"{folder}/{RESULTS}:{number}", unusable.problems)
            continue
        if segment is None or key is not segment.key or len(row) != segment.width:
            of_run = _in_any_order(key)
            of_file = of_run if key.program == DOMAINBED else replace(of_run, test_domains=())
            if seen and of_file not in seen:
                rule = _OTHER_KEY if key.program == DOMAINBED else _OTHER_PROCESS
                file.doubtful.append(Fault(f"{folder}/{RESULTS}:{number}", rule, _in_words(key)))
            seen.add(of_file)
            segment = segments.setdefault((of_run, len(row)), _Segment(key, len(row)))
        segment.lines.append(number)
        segment.steps.append(step)
        segment.rows.append(row)
    file.runs = [segment.run(folder, done) for segment in segments.values()]
    file.doubtful += [fault for segment in segments.values() for fault in _gaps(segment, folder)]
    if not file.runs and not file.left_out:
        file.left_out.append(Fault(f"{folder}/{RESULTS}", "must hold a record"))
    return file


def _add_log(file: _File, content: bytes, folder: str) -> None:
    """Add to the runs of results.jsonl, if any, what only the log has."""
    log = read_log(content)
    if log is None:  # of another program, and without results beside it none of this tree
        if file.runs:
            file.left_out.append(Fault(f"{folder}/{LOG}", "must be a log of swad's trainer"))
        return
    for line, rule, got in log.faults:
        file.leave_out(f"{folder}/{LOG}:{line}", [(rule, got)])
    segments: dict[tuple[RunKey, int], _Segment] = {}
    for line, record in (*(() if file.runs else log.records), *log.averaged):
        try:
            key, step, row = _check_record(record)
        except _UnusableError as unusable:
            file.leave_out(f"{folder}/{LOG}:{line}", unusable.problems)
            continue
        segment = segments.setdefault((key, len(row)), _Segment(key, len(row), LOG))
        segment.lines.append(line)
        segment.steps.append(step)
        segment.rows.append(row)
    runs = [*file.runs, *(segment.run(folder, False) for segment in segments.values())]
    file.runs = [replace(run, done=run.key.test_domains in log.finished) for run in runs]
    file.unconverged = [f"{folder}/{LOG}:{line}" for line in sorted(log.unconverged)]
    if not file.runs and not file.left_out:
        file.left_out.append(Fault(f"{folder}/{LOG}", "must hold a record"))


def _told_apart(runs: Sequence[Run]) -> list[Run]:
    """Runs of swad's family with numbered draws, and, in a tree of several programs, with the program in their name."""
    several = len({"swad" if run.key.program == "SAGM" else run.key.program for run in runs}) > 1
    draws: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
    found = []
    for run in runs:
        key = run.key
        if key.program != DOMAINBED:
            known = draws.setdefault((key.program, key.dataset, key.algorithm.removesuffix(AVERAGED)), {})
            draw = known.setdefault(key.settings, len(known))
            name = f"{key.algorithm} ({key.program})" if several else key.algorithm
            run = replace(run, key=replace(key, draw=draw, algorithm=name))
        found.append(run)
    return found


def _gaps(segment: _Segment, folder: str) -> Iterator[Fault]:
    """Missing accuracies that nothing uses, in DomainBed's first record without them."""
    if segment.key.program != DOMAINBED:
        return
    for line, row in zip(segment.lines, segment.rows, strict=True):
        if _LACKING in row:
            names = ", ".join(f"env{i}_in_acc" for i, value in enumerate(row) if value == _LACKING)
            yield Fault(f"{folder}/{RESULTS}:{line}", "must have the accuracies of its training domains", f"no {names}")
            return


def _in_any_order(key: RunKey) -> RunKey:
    """The same for two keys of one run, whose test domains may be written in either order."""
    return replace(key, test_domains=tuple(sorted(key.test_domains)))


def _in_words(key: RunKey) -> str:
    words = f"{key.algorithm} on {key.dataset}, test_envs {[*key.test_domains]}, trial_seed {key.trial_seed}"
    return f"{words}, hparams_seed {key.draw}" if key.program == DOMAINBED else f"{words}, of {key.program}"


class _Parser:
    """Parses the lines of one file: in C where they are well-formed, else in Python.

    Args:
        n: number of domains of a well-formed line.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._decode = _decoder(n).decode
        self._args: object = None  # of the previous line, nearly always the same bytes
        self._key: RunKey | None = None

    def parse(self, line: bytes) -> tuple[RunKey, int, Sequence[float]]:
        """Key, step, and the accuracies: `in` of every domain, then `out` of every domain.

        Raises:
            _UnusableError: with all that is wrong.
        """
        if self._n == 0 or line.count(_OUT) != self._n:
            return _parse_carefully(line)
        try:
            args, step, *row = msgspec.structs.astuple(self._decode(line))
            if self._key is None or args != self._args:
                self._key, self._args = _check_key(msgspec.json.decode(args), self._n), args
        except (msgspec.MsgspecError, ValueError, RecursionError):  # NaN too, which Python writes and JSON lacks
            return _parse_carefully(line)
        return self._key, step, row


_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Step = Annotated[int, msgspec.Meta(ge=0, le=_MAX_STEP)]


@lru_cache
def _decoder(n: int) -> msgspec.json.Decoder[Any]:
    """Of a record with `n` domains that has all their accuracies."""
    accuracies = [(f"env{i}_{split}_acc", _Share) for split in ("in", "out") for i in range(n)]
    fields: list[Any] = [("args", msgspec.Raw), ("step", _Step), *accuracies]
    return msgspec.json.Decoder(msgspec.defstruct("_Record", fields, gc=False))


def _parse_carefully(line: bytes) -> tuple[RunKey, int, Sequence[float]]:
    """As `_Parser.parse`, of any line."""
    if len(line) > _LONGEST_LINE:
        raise _UnusableError((f"{_JSON} of at most {_LONGEST_LINE:,} bytes", len(line)))
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise _UnusableError((_JSON, _excerpt(line))) from None
    if not isinstance(record, dict):
        raise _UnusableError((_JSON, _excerpt(line)))
    return _check_record(record)


def _check_record(record: Mapping[str, Any]) -> tuple[RunKey, int, Sequence[float]]:
    """As `_Parser.parse`, of a record of any program."""
    problems: list[tuple[str, object]] = []
    found = [match for name in record if (match := _OUT_OF_DOMAIN.fullmatch(name))]
    family = bool(found) and not any(match[2] for match in found)
    n = 1 + max((int(match[1]) for match in found if family or match[2]), default=-1)
    step = record.get("step")
    if type(step) is not int or not 0 <= step <= _MAX_STEP:
        problems.append(("must have a `step`, a whole number from 0", step))
    key = None
    try:
        key = _check_key(record.get("args"), n, family)
        if family:
            key = _of_family(key, record["args"], record.get("hparams"))
    except _UnusableError as unusable:
        problems += unusable.problems
    row = _check_accuracies(record, n, key.test_domains if key else (), problems, "" if family else "_acc")
    if key is None or problems:
        raise _UnusableError(*problems)
    return key, record["step"], row


def _check_accuracies(
    record: Mapping[str, object],
    n: int,
    test_domains: Sequence[int],
    problems: list[tuple[str, object]],
    ending: str,
) -> list[float]:
    """The row of a record; what is wrong with it is added to `problems`."""
    if n == 0:
        problems.append((_ACCURACIES, "no env0_out_acc"))
    row: list[float] = []
    for split, i in product(("in", "out"), range(n)):
        name = f"env{i}_{split}{ending}"
        value = record.get(name, math.nan)
        if name not in record:
            if split == "out" or i in test_domains:
                problems.append((_ACCURACIES, f"no {name}"))
            value = _LACKING
        elif type(value) not in (int, float) or value < 0 or value > 1:  # type: ignore[operator]  # NaN is neither
            problems.append(("must have accuracies in [0, 1], or NaN", f"{name} {value!r}"))
        row.append(value)  # type: ignore[arg-type]
    return row


def _of_family(key: RunKey, args: Mapping[str, object], hparams: object) -> RunKey:
    if not isinstance(hparams, dict):
        raise _UnusableError(("must have `hparams`", hparams))
    return replace(key, program=program_of(args, hparams), settings=settings_of(hparams))


def _check_key(args: object, n: int, family: bool = False) -> RunKey:
    """The key that `args` of a record with `n` domains gives; raises _UnusableError with all that is wrong."""
    if not isinstance(args, dict):
        raise _UnusableError(("must have `args`", args))
    problems: list[tuple[str, object]] = []
    problems += [
        (f"must have `args.{name}`, a name", args.get(name))
        for name in ("dataset", "algorithm")
        if not isinstance(args.get(name), str) or not args[name]
    ]
    problems += [
        (f"must have `args.{name}`, a whole number", args.get(name))
        for name in (("trial_seed",) if family else ("trial_seed", "hparams_seed"))
        if type(args.get(name)) is not int
    ]
    envs_name = "real_test_envs" if family else "test_envs"
    envs = args.get(envs_name)
    if (
        not isinstance(envs, list)
        or not all(type(env) is int and env >= 0 for env in envs)
        or not 0 < len(set(envs)) == len(envs)
        or (n > 0 and not (max(envs) < n and len(envs) < n))  # without accuracies nothing can be said of domains
    ):
        rule = f"must have `args.{envs_name}`, numbers of domains that leave one to train on"
        problems.append((f"{rule} (accuracies are there of {n})" if n else rule, envs))
    if problems:
        raise _UnusableError(*problems)
    draw = 0 if family else args["hparams_seed"]
    return RunKey(args["dataset"], args["algorithm"], tuple(args[envs_name]), args["trial_seed"], draw)


def _excerpt(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return text if len(text) <= 60 else f"{text[:60]}..."


def _with_equal_domains(runs: Sequence[Run]) -> tuple[list[Run], dict[str, int], list[Run]]:
    """The runs with as many domains as most records of their dataset (of two numbers with as many records, the higher),
    that number by dataset, and the other runs."""
    records: dict[str, Counter[int]] = {}
    for run in runs:
        records.setdefault(run.key.dataset, Counter())[run.accuracies.shape[2]] += len(run.steps)
    domains = {
        dataset: max(counts, key=lambda n, counts=counts: (counts[n], n))  # type: ignore[misc]
        for dataset, counts in records.items()
    }
    kept: list[Run] = []
    others: list[Run] = []
    for run in runs:
        (kept if run.accuracies.shape[2] == domains[run.key.dataset] else others).append(run)
    return kept, domains, others


def _other_domains(run: Run, n: int) -> Fault:
    rule = "must have as many domains as most records of its dataset"
    found = f"{len(run.steps)} from here on with {run.accuracies.shape[2]}; most of {run.key.dataset} have {n}"
    return Fault(run.place(0), rule, found)


def _compare_repetitions(runs: Iterable[Run]) -> tuple[int, list[Fault]]:
    """How many records repeat an earlier one of their run and step, and a fault for each file that contradicts one."""
    by_key: dict[RunKey, list[Run]] = {}
    for run in runs:
        by_key.setdefault(_in_any_order(run.key), []).append(run)
    repeated = 0
    faults: list[Fault] = []
    for same in by_key.values():
        if len(same) == 1 and bool((np.diff(same[0].steps) > 0).all()):
            continue
        known: dict[int, dict[bytes, str]] = {}
        for run in same:
            contradictions = []
            for i, step in enumerate(run.steps.tolist()):
                numbers, place = run.accuracies[i].tobytes(), run.place(i)
                earlier = known.setdefault(step, {})
                if numbers in earlier:
                    repeated += 1
                elif earlier:
                    contradictions.append((place, f"step {step} differs from {next(iter(earlier.values()))}"))
                earlier.setdefault(numbers, place)
            if contradictions:
                place, found = contradictions[0]
                more = f", and {len(contradictions) - 1} more" if len(contradictions) > 1 else ""
                faults.append(Fault(place, _OTHER_NUMBERS, found + more))
    return repeated, faults
