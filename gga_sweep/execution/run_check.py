"""Whether one run's folder is whole: each file is what was written, and fits the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Literal, TypeVar, get_args

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.annealing.options import GGAL
from gga_sweep.errors import DamagedFileError
from gga_sweep.execution.checkpoint import parse_checkpoint
from gga_sweep.ledger.index import IndexEntry
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.run_reader import (
    DETERMINISTIC,
    RunFiles,
    RunSnapshot,
    Weights,
    digest_faults,
    make_result,
    result_stamp,
)
from gga_sweep.ledger.store import LedgerStore
from gga_sweep.metrics import DEFAULT_METRIC
from gga_sweep.networks.choice import is_weights_file
from gga_sweep.records import FINAL, AnnealingLine, Averaged, NoisyStep, Record, RunResult, RunState, RunStatus
from gga_sweep.spec.key import run_key
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import parse_weights

Remedy = Literal["retry", "launch"]
"""What repairs a run: training it again (`gga-sweep retry`), or the next launch."""

_ATTEMPTS = 5

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of one file.

    Args:
        run: the name of the run's folder; None for a file of the whole sweep.
        file: its name in there.
        what: the fault, in words that follow the file's name.
        remedy: of a run; None if `what` contains it.
    """

    run: str | None
    file: str
    what: str
    remedy: Remedy | None = None

    def __str__(self) -> str:
        return f"{self.file} {self.what}" if self.run is None else f"{self.run}: {self.file} {self.what}"


def check_run(store: LedgerStore, name: str, indexed: IndexEntry | None) -> RunCheck:
    """Check a run while nothing writes it. A run that is written faster than it is read has no findings.

    Args:
        indexed: the run's entry in the index, current or not.
    """
    for _ in range(_ATTEMPTS):
        folder = RunSnapshot(store, name)
        files = folder.list_files()
        check = RunCheck(folder)
        check.run(files, indexed)
        if not check.findings or result_stamp(folder.list_files()) == result_stamp(files):
            return check
    check.findings.clear()
    return check


class RunCheck:
    """One check of a run's folder. `check_run` makes it.

    Attributes:
        checked: how many items of each kind were checked.
        findings: at most one for each file.
    """

    def __init__(self, folder: RunSnapshot) -> None:
        self.checked: Counter[str] = Counter({"run": 1})
        self.findings: list[Finding] = []
        self._folder = folder
        self._state = RunState()

    @property
    def _final(self) -> bool:
        return self._state.status in FINAL

    def run(self, files: RunFiles, indexed: IndexEntry | None) -> None:
        """Check every file.

        Args:
            files: of the folder, as they were just listed.
            indexed: the run's entry in the index, current or not.
        """
        folder = self._folder
        self._state = self._read("status.json", folder.read_state) or RunState()
        contents = {name: folder.read_file(name) for name in DETERMINISTIC}
        header = self._read("run.json", folder.read_header)
        self._check_files(header, contents)
        if header is not None:
            self._check_header(self._check_key, header)
        records = self._read("records.jsonl", folder.read_records) or ()
        annealed = self._read("annealing.jsonl", folder.read_annealed) or ()
        averaged = self._read("averaged.jsonl", folder.read_averaged)
        evaluations = len(records) + (averaged is not None)
        self.checked.update({"evaluation": evaluations, "annealed step": len(annealed)})
        for name in get_args(Weights):
            self._check_weights(name, contents[name])
        metric = DEFAULT_METRIC if header is None else header.config.metric
        if header is not None and not self.findings:
            self._check_header(self._check_steps, header.config, records, annealed)
            self._check_averaged(header.config, averaged)
        self._check_checkpoint(records, annealed, contents, metric)
        if indexed is not None and indexed.stamp == result_stamp(files):
            timings = folder.read_file("timings.jsonl")
            self._check_index(indexed, make_result(folder.name, self._state, records, annealed, averaged, timings))

    def _found(self, file: str, what: str, remedy: Remedy | None = None) -> None:
        """Add a finding, unless the file has one."""
        if all(finding.file != file for finding in self.findings):
            remedy = remedy or ("retry" if self._final else "launch")
            self.findings.append(Finding(self._folder.name, file, what, remedy))

    def _read(self, file: str, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except DamagedFileError as error:
            self._found(file, str(error).removeprefix(f"run {self._folder.name}: its {file} "))
            return None

    def _check_header(self, check: Callable[..., None], *arguments: object) -> None:
        """A header may have the right fields and impossible values."""
        try:
            check(*arguments)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            self._found("run.json", f"is damaged: {in_one_line(error)}", "retry")

    def _check_files(self, header: RunHeader | None, contents: Mapping[str, bytes | None]) -> None:
        """The files that must exist do, and those of a final run are what it left."""
        state, there = self._state, [name for name, content in contents.items() if content is not None]
        if there and self._folder.read_file("status.json") is None:
            self._found("status.json", "is missing")
        if header is None and (there or self._final):
            self._found("run.json", "is missing", "retry" if self._final else "launch")
        if self._folder.newest_attempt() < state.attempt:
            self._found("attempts", f"lacks attempt {state.attempt}, which wrote the status")
        for name, fault in digest_faults(state, DETERMINISTIC, contents.get):
            self._found(name, fault)

    def _check_key(self, header: RunHeader) -> None:
        own = _own_key(header)
        if not self._folder.name.endswith(f"-{header.key[:8]}"):
            self._found("run.json", f"is of another run: its key begins with {header.key[:8]}", "retry")
        elif own is not None and own != header.key:
            self._found("run.json", f"holds another configuration than its key: that gives {own[:8]}...", "retry")

    def _check_weights(self, name: str, content: bytes | None) -> None:
        if content is None:
            return
        self.checked[f"{name} model"] += 1
        try:
            parse_weights(content)
        except Exception as error:  # safetensors has its own
            self._found(name, f"holds no weights: {in_one_line(error)}")

    def _check_steps(self, config: RunSpec, records: Sequence[Record], annealed: Sequence[AnnealingLine]) -> None:
        """The evaluated and annealed steps are those of the configuration, up to where the run ended."""
        state, last = self._state, config.training.steps - 1
        if state.status is RunStatus.DONE and state.step != last:
            self._found("status.json", f"is of a run that is done after step {state.step}, not {last}")
        recorded = [record.step for record in records]
        # An evaluation at which a run diverges leaves no record.
        ended_at_evaluation = state.status is RunStatus.DIVERGED and state.step not in recorded
        self._check_prefix("records.jsonl", recorded, config.training.evaluated_steps, state.step - ended_at_evaluation)
        noisy = isinstance(config.annealing, GGAL)
        if annealed and isinstance(annealed[0], NoisyStep) != noisy:
            self._found("annealing.jsonl", "holds steps of another method than the configuration's")
        self._check_prefix("annealing.jsonl", [line.step for line in annealed], config.annealed_steps, state.step)

    def _check_averaged(self, config: RunSpec, averaged: Averaged | None) -> None:
        """Only a run that is DONE and averages its weights has averaged weights, of its last step."""
        state, wanted = self._state, config.training.averaging is not None
        if state.status is RunStatus.DONE and wanted and averaged is None:
            self._found("averaged.jsonl", "is missing, although the run averaged its weights")
        elif averaged is not None and not wanted:
            self._found("averaged.jsonl", "is of a run that averages no weights")
        elif averaged is not None and self._final and state.status is not RunStatus.DONE:
            self._found("averaged.jsonl", f"is of a run that is {state.status}")
        elif averaged is not None and averaged.record.step != config.training.steps - 1:
            self._found("averaged.jsonl", f"is of step {averaged.record.step}, not {config.training.steps - 1}")

    def _check_prefix(self, file: str, steps: Sequence[int], wanted: Iterable[int], until: int) -> None:
        """The lines are of these steps. Those of a run in training may be ahead of its status, or behind it."""
        due = iter(wanted)
        for found in steps:
            if (expected := next(due, None)) != found:
                where = "which should have none" if expected is None else f"where step {expected} was due"
                self._found(file, f"has step {found}, {where}")
                return
        lacking = next(due, None)
        if self._final and lacking is not None and lacking <= until:
            self._found(file, f"ends before step {lacking}, although the run went on to step {self._state.step}")

    def _check_checkpoint(
        self,
        records: Sequence[Record],
        annealed: Sequence[AnnealingLine],
        present: Mapping[str, bytes | None],
        metric: str,
    ) -> None:
        """As a resuming run does: the other files must be those that the checkpoint was written with."""
        content = self._folder.read_checkpoint()
        if content is None:
            return
        self.checked["checkpoint"] += 1
        try:
            checkpoint = parse_checkpoint(content)
        except Exception as error:  # of ours, of torch, of whatever the file holds
            self._found("checkpoint", f"is damaged: {in_one_line(error)}")
            return
        if self.findings:
            return
        for file in checkpoint.faults(records, annealed, present.get, metric, self._state.removed):
            self._found(file, f"is not what the checkpoint of step {checkpoint.next_step - 1} was written with")

    def _check_index(self, indexed: IndexEntry, result: RunResult) -> None:
        self.checked["indexed run"] += 1
        if self.findings:
            return  # the entry is of the files before the damage
        if not indexed.is_of(result):
            self.findings.append(
                Finding(self._folder.name, "index", "is not what the run's files give; delete the sweep's index/")
            )


def _own_key(header: RunHeader) -> str | None:
    """The key that the configuration gives.

    None if it cannot be computed here: for another version, whose keys may differ; for an algorithm of another package,
    which is not imported for this; for a weights file, whose digest is only in the key.
    """
    config, algorithm = header.config, ALGORITHMS.get(header.config.algorithm)
    if header.fingerprint.get("gga-sweep") != _version():
        return None
    if algorithm is None or (config.training.weights is not None and is_weights_file(config.training.weights)):
        return None
    return run_key(config, header.dataset_digest, algorithm.numerics, code=header.code)


@cache
def _version() -> str:
    return metadata.version("gga-sweep")


def in_one_line(error: Exception) -> str:
    """The error's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
