"""The files of swad and of the programs built on its trainer: miro, SAGM and the GGA release.

Written from train_all.py, domainbed/trainer.py, evaluator.py and lib/logger.py of khanrc/swad (252190e),
kakaobrain/miro (5238455), Wang-pengfei/SAGM (69d4d9d) and aristotelisballas/GGA (5450c2b). One process trains all
targets into one folder:

- results.jsonl has a line an evaluation. Unlike DomainBed's, accuracies are called `env0_in` and `env0_out`, the target
  is `args.real_test_envs`, and there is no `hparams_seed`. `--evalmode fast`, the default, measures no `env0_in` of
  training domains (and writes `train_in` 0).
- log.txt has the same accuracies in columns, to six decimals, between messages and the escape codes of colours. Only
  there are the averaged weights of each target (SWAD) evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

LOG = "log.txt"
AVERAGED = " + SWAD"
"""Ends the name of an algorithm whose averaged weights were evaluated."""

PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "swad": "khanrc/swad, or SAGM with an algorithm of swad",
        "SAGM": "Wang-pengfei/SAGM",
        "miro": "kakaobrain/miro",
        "GGA": "the GGA release, aristotelisballas/GGA",
        "like swad": "other programs with swad's trainer",
    }
)
"""By the names that tell their rows apart."""

_ARGS = {
    *("algorithm", "checkpoint_freq", "configs", "data_dir", "dataset", "debug", "deterministic", "evalmode"),
    *("holdout_fraction", "model_save", "name", "out_dir", "out_root", "prebuild_loader", "real_test_envs", "seed"),
    *("show", "steps", "tb_freq", "test_envs", "trial_seed", "unique_name", "work_dir"),
}
"""Of swad, SAGM and miro. The GGA release has more, and so have later programs."""

_COLOUR = re.compile(r"\x1b\[\d*m")
_LEVEL = re.compile(r"DEBUG|INFO|WARNING|ERROR|CRITICAL")
_MESSAGE = re.compile(rf"(?:{_LEVEL.pattern}) \d\d/\d\d \d\d:\d\d:\d\d \| (.*)")
_TARGET = re.compile(r"Test envs = \[(\d{1,9}(?:, \d{1,9})*)\], name = .*")
_NUMBERS = re.compile(r"(?:\d+\.\d+|nan)(?: .*)?")
_AVERAGE = re.compile(r"(.*?) \[-?\d+-(-?\d{1,18})\](  \(N=\d+\))?")
_WHOLE = re.compile(r"-?\d{1,18}")
_RESULT = re.compile(r".+ = (?:\d+\.\d{3}|nan)%")
_UNCONVERGED = "model is not yet converged"
_OF_A_RUN = ("logdir", "test_env")  # of the GGA release, which keeps them among its hyperparameters

_LAST = "must end in a line feed; its writer is at work or was stopped, and this line is cut off"
_CUT = "must be a message `LEVEL date time | text`; this line is cut off"
_ROW = "must be a row with a number for each column above it"


def program_of(args: Mapping[str, Any], hparams: Collection[str]) -> str:
    """Which of `PROGRAMS` writes such arguments and names of hyperparameters."""
    if "neighborhoodSize" in args:
        return "GGA"
    if _ARGS.issuperset(args):
        if {"ld", "lr_mult", "feat_layers"} <= set(hparams):
            return "miro"
        if "indomain_test" in hparams:
            return "SAGM" if args["algorithm"].removesuffix(AVERAGED) == "SAGM_DG" else "swad"
    return "like swad"


def settings_of(hparams: Mapping[str, object]) -> tuple[str, ...]:
    """The hyperparameters as sorted lines, the same from both files."""
    return tuple(sorted(f"{name}: {value}" for name, value in _leaves(hparams) if name not in _OF_A_RUN))


def _leaves(hparams: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in hparams.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif value != "":  # in a log also the name of a group
            yield name, value


@dataclass(slots=True)
class Log:
    """What a log.txt holds.

    Args:
        records: line and record of each evaluation, as results.jsonl holds them.
        averaged: the same of averaged weights; `step` is the last step in them.
        finished: targets with final results.
        unconverged: of `averaged`, the lines where SWAD found no valley.
        faults: line, rule and what was found, of lines that cannot be used.
    """

    records: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    averaged: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    finished: set[tuple[int, ...]] = field(default_factory=set)
    unconverged: set[int] = field(default_factory=set)
    faults: list[tuple[int, str, object]] = field(default_factory=list)


def read_log(content: bytes) -> Log | None:
    """Read a log.txt, of a finished process or of one at work; None of a program outside the family."""
    *lines, rest = content.decode("utf-8", "replace").split("\n")
    first = _MESSAGE.fullmatch(_COLOUR.sub("", lines[0] if lines else rest))
    if first is None or not first[1].startswith("Command :: "):
        return None
    log = Log()
    reader = _LogReader(log)
    for number, line in enumerate(lines, 1):
        reader.read(number, _COLOUR.sub("", line))
    if rest:
        log.faults.append((len(lines) + 1, _LAST, _COLOUR.sub("", rest)[:60]))
    return log


class _LogReader:
    """Reads line by line; a message has its meaning from those before it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._blocks: dict[str, dict[str, Any]] = {"Args:": {}, "HParams:": {}}
        self._block: dict[str, Any] | None = None
        self._target: tuple[int, ...] = ()
        self._columns: list[str] = []
        self._averaged = self._unconverged = False

    def read(self, number: int, line: str) -> None:
        if self._block is not None and line.startswith("\t"):
            name, _, value = line.strip().partition(":")
            self._block[name] = value.strip()
            return
        self._block = self._blocks.get(line)
        if message := _MESSAGE.fullmatch(line):
            self._read_message(number, message[1])
        elif _LEVEL.match(line) or _NUMBERS.fullmatch(line):
            self._log.faults.append((number, _CUT, line[:60]))

    def _read_message(self, number: int, text: str) -> None:
        if target := _TARGET.fullmatch(text):
            self._target = tuple(map(int, target[1].split(", ")))
            self._columns = []
            self._averaged = self._unconverged = False
        elif text.startswith("test_in "):
            self._columns = text.split()
        elif text.startswith("Evaluate SWAD"):
            self._averaged = True
        elif _UNCONVERGED in text:
            self._unconverged = True
        elif _RESULT.fullmatch(text):
            self._log.finished.add(self._target)
        elif _NUMBERS.fullmatch(text) or 0 < len(self._columns) == len(text.split()):
            self._read_row(number, text)

    def _read_row(self, number: int, text: str) -> None:
        average = _AVERAGE.fullmatch(text)
        columns, values = self._columns, text.split()
        if average is not None:  # without what belongs to a step
            columns, values = columns[: columns.index("step")] if "step" in columns else [], average[1].split()
        if len(values) != len(columns) or not all(map(_is_number, values)):
            found = f"{len(values)} words for {len(columns)} columns: {text[:40]}"
            self._log.faults.append((number, _ROW, found))
        elif average is None:
            self._log.records.append((number, self._record(dict(zip(columns, values, strict=True)))))
        elif average[3] and self._averaged:  # not a trial of `--swad IIDMax` on the way
            record = self._record({**dict(zip(columns, values, strict=True)), "step": max(0, int(average[2]))})
            if "algorithm" in record["args"]:
                record["args"]["algorithm"] += AVERAGED
            self._log.averaged.append((number, record))
            self._log.unconverged.update([number] * self._unconverged)

    def _record(self, row: Mapping[str, str | int]) -> dict[str, Any]:
        args, hparams = self._blocks.values()
        changed = {"trial_seed": _whole(args.get("trial_seed")), "real_test_envs": [*self._target]}
        numbers = {name: _whole(value) if name == "step" else float(value) for name, value in row.items()}
        return {"args": {**args, **changed}, "hparams": hparams, **numbers}


def _whole(value: object) -> object:
    """The whole number that a word is, or the word."""
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
