"""Whether a ledger is whole: each file is what was written, and fits the others. Writes nothing.

Not looked at: `timings.jsonl`, in which a broken line counts nothing; what stands in the files of `attempts/`, whose
names alone count; reports, which can be made anew; entries of the index that are no longer current.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Literal, TypeVar, get_args

import msgspec

from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.errors import DamagedFileError, Fault, GGASweepError, InputError, StorageError
from gga_sweep.execution.prefixes import read_prefix
from gga_sweep.ledger.branching import PREFIXES
from gga_sweep.ledger.index import read_indexed
from gga_sweep.ledger.json_codec import digest, dump, dump_lines
from gga_sweep.ledger.lease import LAUNCHES, Holder, live_holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.run_reader import AVERAGED, DETERMINISTIC, Weights, result_stamp
from gga_sweep.ledger.searched import SEARCHED, parse_searched
from gga_sweep.networks.choice import is_weights_file
from gga_sweep.records import FINAL, AnnealingLine, Averaged, NoisyStep, Record, RunResult, RunState, RunStatus
from gga_sweep.spec.key import run_key
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.checkpoint import parse_state, parse_weights

COUNTED = (
    "run",
    "evaluation",
    "annealed step",
    "selected model",
    "averaged model",
    "checkpoint",
    "indexed run",
    "launch file",
    "prefix",
)
"""What is counted, in the singular."""

Cure = Literal["retry", "launch"]
"""What puts a run right: to train it anew (`gga-sweep retry`), or the next launch by itself."""

_LOOKS = 5
_SETTLING_SECONDS = 1.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one file.

    Args:
        run: the name of the run's folder; None for a file of the whole sweep.
        file: its name in there.
        what: in words that follow the file's name.
        cure: of a run; None where the words tell it.
    """

    run: str | None
    file: str
    what: str
    cure: Cure | None = None

    def __str__(self) -> str:
        return f"{self.file} {self.what}" if self.run is None else f"{self.run}: {self.file} {self.what}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what was found.

    Args:
        checked: how many of each of `COUNTED`.
        findings: the sweep's own first, then by run.
        unfinished: files left half made, with their bytes. No fault: nothing reads them.
    """

    checked: Mapping[str, int]
    findings: tuple[Finding, ...]
    unfinished: Mapping[str, int]

    def runs(self, cure: Cure) -> tuple[str, ...]:
        """The folders of the runs that this puts right; those to be trained anew do not wait for a launch."""
        anew = dict.fromkeys(one.run for one in self.findings if one.run is not None and one.cure == "retry")
        if cure == "retry":
            return tuple(anew)
        others = (one.run for one in self.findings if one.run is not None and one.cure == "launch")
        return tuple(dict.fromkeys(name for name in others if name not in anew))


def verify(
    ledger: Ledger,
    read_sweep: Callable[[], object] | None = None,
    show: Callable[[int, int], None] = lambda looked, of: None,
) -> Verification:
    """Check every run of a ledger, and what the sweep keeps beside them. A launch may go on meanwhile.

    Args:
        read_sweep: reads `sweep.json` as planning does; None asks no more of it than that it is JSON.
        show: told after each run how many were looked at, of how many.

    Raises:
        InputError: there is neither a sweep nor a run.
        StorageError: a file cannot be read.
    """
    names = ledger.run_names()
    if not names and ledger.store.read("sweep.json") is None:
        rule = "must be a sweep's folder (STORAGE/SWEEP), as `gga-sweep run` makes it"
        raise InputError([Fault("DIR", rule, str(ledger.folder))])
    of_sweep = [
        *_sweep_findings(ledger, read_sweep),
        *_launch_findings(ledger),
        *_searched_findings(ledger),
        *_prefix_findings(ledger),
    ]
    looks: dict[str, _Look] = {}
    for name, look in _looks(ledger, names):
        looks[name] = look
        show(len(looks), len(names))
    if suspects := [name for name in names if looks[name].findings]:
        if live_holder(ledger.store, LAUNCHES) is not None:
            time.sleep(_SETTLING_SECONDS)  # it may have been in the middle of putting them right
        looks.update(_looks(ledger, suspects))
    checked = Counter({"launch file": len(_launch_files(ledger)), "prefix": len(ledger.store.list(PREFIXES))})
    for seen in looks.values():
        checked.update(seen.checked)
    return Verification(
        checked={name: checked[name] for name in COUNTED},
        findings=(*of_sweep, *(finding for name in names for finding in looks[name].findings)),
        unfinished=ledger.store.unfinished_writes(),
    )


def _looks(ledger: Ledger, names: Sequence[str]) -> Iterator[tuple[str, _Look]]:
    indexed = read_indexed(ledger.store, names)
    for name in names:
        yield name, _look_until_it_stands(ledger.run(name), indexed.get(name))


def _sweep_findings(ledger: Ledger, read_sweep: Callable[[], object] | None) -> Iterator[Finding]:
    if ledger.store.read("sweep.json") is None:
        yield Finding(None, "sweep.json", "is missing: launch the sweep again, whose runs are kept")
        return
    try:
        (read_sweep or ledger.read_sweep)()
    except (GGASweepError, ValueError, RecursionError) as error:
        yield Finding(None, "sweep.json", f"is damaged: {_in_one_line(error)}")


def _prefix_findings(ledger: Ledger) -> Iterator[Finding]:
    for name in ledger.store.list(PREFIXES):
        try:
            read_prefix(ledger.store, name)
        except StorageError:
            raise
        except Exception as error:  # of torch, or of whatever is in it
            what = f"is damaged: {_in_one_line(error)}; runs that would begin with it begin at step 0"
            yield Finding(None, f"{PREFIXES}/{name}", what)


def _launch_findings(ledger: Ledger) -> Iterator[Finding]:
    for name in _launch_files(ledger):
        path = f"{LAUNCHES}/{name}"
        try:
            msgspec.json.decode(ledger.store.read(path) or b"", type=Holder)
        except msgspec.DecodeError as error:
            cure = "it counts as ended; while no launch is live, delete it, and the .stop beside it"
            yield Finding(None, path, f"is damaged: {_in_one_line(error)}; {cure}")


def _launch_files(ledger: Ledger) -> list[str]:
    return [name for name in ledger.store.list(LAUNCHES) if name.endswith(".json")]


def _searched_findings(ledger: Ledger) -> Iterator[Finding]:
    for name in ledger.store.list(SEARCHED):
        path = f"{SEARCHED}/{name}"
        try:
            parse_searched(ledger.store.read(path))
        except (ValueError, RecursionError) as error:
            cure = "delete it, and the run of a searcher that it tells of is left out of the tables"
            yield Finding(None, path, f"is damaged: {_in_one_line(error)}; {cure}")


def _look_until_it_stands(folder: RunFolder, indexed: RunResult | None) -> _Look:
    """A look during which nothing was written. A run that is written faster than it is read shows no fault."""
    for _ in range(_LOOKS):
        before = result_stamp(folder.list_files())
        look = _Look(folder, indexed)
        if not look.findings or result_stamp(folder.list_files()) == before:
            return look
    look.findings.clear()
    return look


class _Look:
    """One look at a run.

    Args:
        indexed: what the index tells of the run; None where it tells nothing.
    """

    def __init__(self, folder: RunFolder, indexed: RunResult | None) -> None:
        self.checked: Counter[str] = Counter({"run": 1})
        self.findings: list[Finding] = []
        self._folder = folder
        self._final = False
        self._state = self._read("status.json", folder.read_state) or RunState()
        self._final = self._state.status in FINAL
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
        if header is not None and not self.findings:
            self._check_header(self._check_steps, header.config, records, annealed)
            self._check_averaged(header.config, averaged)
        self._check_checkpoint(records, annealed, contents)
        self._check_index(indexed)

    def _found(self, file: str, what: str, cure: Cure | None = None) -> None:
        """A file that is damaged already says no more."""
        if all(finding.file != file for finding in self.findings):
            cure = cure or ("retry" if self._final else "launch")
            self.findings.append(Finding(self._folder.name, file, what, cure))

    def _read(self, file: str, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except DamagedFileError as error:
            self._found(file, str(error).removeprefix(f"run {self._folder.name}: its {file} "))
            return None

    def _check_header(self, check: Callable[..., None], *arguments: object) -> None:
        """A header may be of the right fields and hold what none of us ever wrote."""
        try:
            check(*arguments)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            self._found("run.json", f"is damaged: {_in_one_line(error)}", "retry")

    def _check_files(self, header: RunHeader | None, contents: Mapping[str, bytes | None]) -> None:
        """What must be there is, and is what a final run left."""
        state, there = self._state, [name for name, content in contents.items() if content is not None]
        if there and self._folder.read_file("status.json") is None:
            self._found("status.json", "is missing")
        if header is None and (there or self._final):
            self._found("run.json", "is missing", "retry" if self._final else "launch")
        if self._folder.newest_attempt() < state.attempt:
            self._found("attempts", f"lacks attempt {state.attempt}, which wrote the status")
        for name, content in contents.items() if state.digests else ():
            expected = state.digests.get(name)
            if content is None and expected is not None and name not in state.removed:
                self._found(name, "is missing")
            elif content is not None and digest(content) != expected:
                self._found(name, "is not what the run left")

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
            self._found(name, f"holds no weights: {_in_one_line(error)}")

    def _check_steps(self, config: RunSpec, records: Sequence[Record], annealed: Sequence[AnnealingLine]) -> None:
        """Evaluated and annealed were the steps that the configuration says: all of them, up to where a run ended."""
        state, last = self._state, config.training.steps - 1
        if state.status is RunStatus.DONE and state.step != last:
            self._found("status.json", f"is of a run that is done after step {state.step}, not {last}")
        recorded = [record.step for record in records]
        # An evaluation at which a run diverges leaves no record.
        ended_at_evaluation = state.status is RunStatus.DIVERGED and state.step not in recorded
        self._check_prefix("records.jsonl", recorded, config.training.evaluated_steps, state.step - ended_at_evaluation)
        noisy = config.annealing is not None and config.annealing["method"] == "gga-l"
        if annealed and isinstance(annealed[0], NoisyStep) != noisy:
            self._found("annealing.jsonl", "holds steps of another method than the configuration's")
        self._check_prefix("annealing.jsonl", [line.step for line in annealed], _window(config), state.step)

    def _check_averaged(self, config: RunSpec, averaged: Averaged | None) -> None:
        """There are averaged weights at the end of a run that averages, and nowhere else."""
        state, wanted = self._state, config.training.averaging is not None
        if state.status is RunStatus.DONE and wanted and averaged is None:
            self._found("averaged.jsonl", "is missing, although the run averaged its weights")
        elif averaged is not None and not wanted:
            self._found("averaged.jsonl", "is of a run that averages no weights")
        elif averaged is not None and self._final and state.status is not RunStatus.DONE:
            self._found("averaged.jsonl", f"is of a run that is {state.status}")
        elif averaged is not None and averaged.record.step != config.training.steps - 1:
            self._found("averaged.jsonl", f"tells of step {averaged.record.step}, not {config.training.steps - 1}")

    def _check_prefix(self, file: str, steps: Sequence[int], wanted: Iterable[int], until: int) -> None:
        """Lines of a run that goes on may run ahead of its status, or lack behind it while it begins anew."""
        due = iter(wanted)
        for found in steps:
            if (expected := next(due, None)) != found:
                where = "of which there is none" if expected is None else f"where step {expected} was due"
                self._found(file, f"tells of step {found}, {where}")
                return
        lacking = next(due, None)
        if self._final and lacking is not None and lacking <= until:
            self._found(file, f"ends before step {lacking}, although the run went on to step {self._state.step}")

    def _check_checkpoint(
        self, records: Sequence[Record], annealed: Sequence[AnnealingLine], present: Mapping[str, bytes | None]
    ) -> None:
        """As a run that resumes does: what it says of the other files must hold."""
        content = self._folder.read_checkpoint()
        if content is None:
            return
        self.checked["checkpoint"] += 1
        try:
            state = parse_state(content)
            next_step, written = int(state["next_step"]), state.get("recorded")
        except Exception as error:  # of ours, of torch, of whatever stands there
            self._found("checkpoint", f"is damaged: {_in_one_line(error)}")
            return
        if self.findings or written is None:  # an older version kept no digests
            return
        before = [record for record in records if record.step < next_step]
        best = max((record.validation.accuracy for record in before), default=-1.0)
        replaced = any(record.validation.accuracy > best for record in records[len(before) :])
        contents: dict[str, bytes | None] = {
            "records.jsonl": dump_lines(before),
            "annealing.jsonl": dump_lines(line for line in annealed if line.step < next_step),
        }
        for file in ("selected", *AVERAGED):
            if file in written and file not in self._state.removed and not (replaced and file == "selected"):
                contents[file] = present[file]
        for file, found in contents.items():
            if (None if found is None else digest(found)) != written.get(file):
                self._found(file, f"is not what the checkpoint of step {next_step - 1} was written with")

    def _check_index(self, indexed: RunResult | None) -> None:
        if indexed is None:
            return
        self.checked["indexed run"] += 1
        if self.findings:
            return  # it is of what the files were
        result = self._folder.read_result()
        if result != indexed and dump(result) != dump(indexed):  # NaN does not equal itself, its text does
            self.findings.append(
                Finding(self._folder.name, "index", "tells otherwise than its files; delete the sweep's index/")
            )


def _window(config: RunSpec) -> range:
    """The steps that are annealed."""
    block = config.annealing
    if block is None:
        return range(0)
    if block["method"] == "gga-l":
        return range(config.training.steps)
    start = int(block["start_step"])
    return range(start, min(start + int(block["num_steps"]), config.training.steps))


def _own_key(header: RunHeader) -> str | None:
    """The key that the configuration gives; None where that cannot be known here.

    Of another version, which may have counted otherwise; of an algorithm of another package, which is not imported for
    this; of a weights file, whose digest is in the key alone.
    """
    config, algorithm = header.config, ALGORITHMS.get(header.config.algorithm)
    if header.fingerprint.get("gga-sweep") != metadata.version("gga-sweep"):
        return None
    if algorithm is None or (config.training.weights is not None and is_weights_file(config.training.weights)):
        return None
    return run_key(config, header.dataset_digest, algorithm.numerics)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
