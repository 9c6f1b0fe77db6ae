"""What a sweep's folder holds that nobody needs any more, and its removal. Tables and the page stay as they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from gga_sweep.ledger.branching import PREFIXES
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_reader import Weights
from gga_sweep.records import FINAL, RunState
from gga_sweep.report.content import make_report
from gga_sweep.spec import Plan

WEIGHTS = "weights of runs that no selection chose"
CHECKPOINTS = "checkpoints of finished runs"
SHARED = "shared prefixes, once every run is final"
HALVES = "half-written files older than an hour"
OLD = "files of older versions that nothing reads"
KINDS = (WEIGHTS, CHECKPOINTS, SHARED, HALVES, OLD)

_OLD_SECONDS = 3600.0
_TUNE = "tune"


@dataclass(frozen=True, slots=True)
class Unneeded:
    """A file that may go.

    Args:
        kind: one of `KINDS`.
        path: in the sweep's folder, with forward slashes.
        size: in bytes.
    """

    kind: str
    path: str
    size: int


def unneeded(plan: Plan, ledger: Ledger) -> tuple[Unneeded, ...]:
    """The files that may go, by kind.

    - The weights, selected and averaged, of every final run that no method of the sweep chose in any cell, be it for
      the ones or the others. They stay where the choice
      is still open: in a cell that lacks a run, or whose choice waits for other cells.
    - The checkpoints of final runs.
    - The prefixes that runs began with, once no run of the plan is left to begin.
    - What writers that died left half made, once it is an hour old.
    - What Ray Tune kept for older versions of this package.

    Runs outside the present plan keep their weights.
    """
    return tuple(_found(plan, ledger))


def clean(plan: Plan, ledger: Ledger) -> tuple[Unneeded, ...]:
    """Remove what `unneeded` finds, while no launch works on the sweep.

    Returns:
        What was removed.

    Raises:
        SweepOwnedError: a live launch owns the sweep.
        StorageError: something cannot be removed; the rest of the ledger is whole.
    """
    with held(ledger.store):
        found = unneeded(plan, ledger)
        for one in found:
            _remove(ledger, one)
        if isinstance(ledger.folder, Path):
            shutil.rmtree(ledger.folder / _TUNE, ignore_errors=True)  # the empty folders
    return found


def _found(plan: Plan, ledger: Ledger) -> Iterator[Unneeded]:
    files = ledger.list_runs()
    states = {name: result.state for name, result in ledger.read_results(files, files).items()}
    final = {name: state for name, state in states.items() if state.status in FINAL}
    weights = [(name, file) for name in _losers(plan, ledger, final) for file in get_args(Weights)]
    for kind, places in ((WEIGHTS, weights), (CHECKPOINTS, [(name, "checkpoint") for name in final])):
        for name, file in places:
            if file in files[name]:
                yield Unneeded(kind, f"runs/{name}/{file}", files[name][file].size)
    if all(run.folder in final for run in plan.runs):
        for name, found in ledger.store.stats(PREFIXES).items():
            yield Unneeded(SHARED, f"{PREFIXES}/{name}", found.size)
    for path, size in ledger.store.unfinished_writes(_OLD_SECONDS).items():
        yield Unneeded(HALVES, path, size)
    linked = isinstance(ledger.folder, Path) and (ledger.folder / _TUNE).is_symlink()  # what lies there is not ours
    for path, found in ({} if linked else ledger.store.stats(_TUNE)).items():
        yield Unneeded(OLD, f"{_TUNE}/{path}", found.size)


def _losers(plan: Plan, ledger: Ledger, final: dict[str, RunState]) -> list[str]:
    """Final runs that stand in a cell, or in a pair that validates one, and that no selection can want any more."""
    report = make_report(plan, ledger)
    tables = (report.table, *report.others)
    chosen = {one.folder for table in tables for one in table.selected}
    is_open = {cell.cell for table in tables for cell in table.incomplete}
    view = report.view
    wanted = chosen | {run.folder for run in view.records if run.cell in is_open}
    told = {run.folder for run in (*view.records, *view.pair_records)}
    # Those that are removed already: of a removal that was cut short the file may still be there.
    return [name for name in final if (name in told and name not in wanted) or final[name].removed]


def _remove(ledger: Ledger, one: Unneeded) -> None:
    if one.kind == WEIGHTS:
        ledger.run(one.path.split("/")[1]).discard_weights()  # and the run remembers
    else:
        ledger.store.delete(one.path)
