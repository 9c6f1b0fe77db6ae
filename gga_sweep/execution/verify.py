"""Checks that each file of a ledger is unchanged and fits the others. Writes nothing.

Not checked: `timings.jsonl`, where broken lines are ignored; the content of `attempts/`, where only the names matter;
reports, which can be made again; entries of the index that are not current.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from gga_sweep.errors import Fault, GGASweepError, InputError, StorageError
from gga_sweep.execution.prefixes import read_prefix
from gga_sweep.execution.run_check import Finding, Remedy, RunCheck, check_run, in_one_line
from gga_sweep.ledger.index import stream_entries
from gga_sweep.ledger.lease import LAUNCHES, Holder, live_holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import PREFIXES
from gga_sweep.ledger.searched_runs import SEARCHED, parse_searched

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
"""The kinds of items that are counted, in the singular."""

_SETTLING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked, and what was found.

    Args:
        checked: how many of each of `COUNTED`.
        findings: the sweep's own first, then by run.
        unfinished: partly written files, with their sizes in bytes. They are no fault: nothing reads them.
    """

    checked: Mapping[str, int]
    findings: tuple[Finding, ...]
    unfinished: Mapping[str, int]

    def runs(self, remedy: Remedy) -> tuple[str, ...]:
        """The folders of the runs that this repairs. A run with any finding for `retry` is only among those."""
        anew = dict.fromkeys(one.run for one in self.findings if one.run is not None and one.remedy == "retry")
        if remedy == "retry":
            return tuple(anew)
        others = (one.run for one in self.findings if one.run is not None and one.remedy == "launch")
        return tuple(dict.fromkeys(name for name in others if name not in anew))


def verify(
    ledger: Ledger,
    read_sweep: Callable[[], object] | None = None,
    show: Callable[[int, int], None] = lambda looked, of: None,
) -> Verification:
    """Check every run of a ledger, and the sweep's own files. A launch may go on meanwhile.

    Args:
        read_sweep: reads `sweep.json` as planning does; None only checks that it is JSON.
        show: called after each run with the number of runs checked and of all.

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
    checked = Counter({"launch file": len(_launch_files(ledger)), "prefix": len(ledger.store.list(PREFIXES))})
    suspects = []
    for looked, (name, check) in enumerate(_check_runs(ledger, names), 1):
        if check.findings:
            suspects.append(name)
        else:
            checked.update(check.checked)
        show(looked, len(names))
    if suspects and live_holder(ledger.store, LAUNCHES) is not None:
        time.sleep(_SETTLING_SECONDS)  # the launch may be repairing them
    found: dict[str, list[Finding]] = {}
    for name, check in _check_runs(ledger, suspects):
        checked.update(check.checked)
        found[name] = check.findings
    return Verification(
        checked={name: checked[name] for name in COUNTED},
        findings=(*of_sweep, *(finding for name in sorted(found) for finding in found[name])),
        unfinished=ledger.store.unfinished_writes(),
    )


def _check_runs(ledger: Ledger, names: Sequence[str]) -> Iterator[tuple[str, RunCheck]]:
    for name, indexed in stream_entries(ledger.store, names):
        yield name, check_run(ledger.store, name, indexed)


def _sweep_findings(ledger: Ledger, read_sweep: Callable[[], object] | None) -> Iterator[Finding]:
    if ledger.store.read("sweep.json") is None:
        yield Finding(None, "sweep.json", "is missing: launch the sweep again, whose runs are kept")
        return
    try:
        (read_sweep or ledger.read_sweep)()
    except (GGASweepError, ValueError, RecursionError) as error:
        yield Finding(None, "sweep.json", f"is damaged: {in_one_line(error)}")


def _prefix_findings(ledger: Ledger) -> Iterator[Finding]:
    for name in ledger.store.list(PREFIXES):
        try:
            read_prefix(ledger.store, name)
        except StorageError:
            raise
        except Exception as error:  # of torch, or of whatever the file holds
            what = f"is damaged: {in_one_line(error)}; runs that would start from it start at step 0"
            yield Finding(None, f"{PREFIXES}/{name}", what)


def _launch_findings(ledger: Ledger) -> Iterator[Finding]:
    for name in _launch_files(ledger):
        path = f"{LAUNCHES}/{name}"
        try:
            msgspec.json.decode(ledger.store.read(path) or b"", type=Holder)
        except msgspec.DecodeError as error:
            remedy = "the launch counts as ended; while no launch is live, delete the file and its .stop file"
            yield Finding(None, path, f"is damaged: {in_one_line(error)}; {remedy}")


def _launch_files(ledger: Ledger) -> list[str]:
    return [name for name in ledger.store.list(LAUNCHES) if name.endswith(".json")]


def _searched_findings(ledger: Ledger) -> Iterator[Finding]:
    for name in ledger.store.list(SEARCHED):
        path = f"{SEARCHED}/{name}"
        try:
            parse_searched(ledger.store.read(path))
        except (ValueError, RecursionError) as error:
            remedy = "delete it; tables then leave out its run, which a user's own searcher added"
            yield Finding(None, path, f"is damaged: {in_one_line(error)}; {remedy}")
