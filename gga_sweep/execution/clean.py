"""Finds and removes files of a sweep that nothing reads any more. Tables and the page stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import get_args

from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import PREFIXES
from gga_sweep.ledger.run_reader import Weights
from gga_sweep.records import FINAL
from gga_sweep.spec import Plan

WEIGHTS = "weights of runs that were not selected"
CHECKPOINTS = "checkpoints of finished runs"
SHARED = "shared prefixes, once every run is final"
PARTIAL = "partly written files older than an hour"
KINDS = (WEIGHTS, CHECKPOINTS, SHARED, PARTIAL)

_OLD_SECONDS = 3600.0

Unselected = Callable[[Plan, Ledger], Collection[str]]
"""Returns the folders of the runs that no selection needs; see `report.unselected.unselected_runs`."""


@dataclass(frozen=True, slots=True)
class Unneeded:
    """A file that can be removed.

    Args:
        kind: one of `KINDS`.
        path: in the sweep's folder, with forward slashes.
        size: in bytes.
    """

    kind: str
    path: str
    size: int


def unneeded(plan: Plan, ledger: Ledger, unselected: Unselected) -> tuple[Unneeded, ...]:
    """The files that can be removed, by kind.

    - The weights, selected and averaged, of final runs that are unselected.
    - The checkpoints of final runs.
    - The prefixes that runs began with, once every run of the plan is final.
    - What crashed processes left partly written, once it is an hour old.

    Runs outside the plan keep their weights.
    """
    return tuple(_find(plan, ledger, unselected))


def clean(plan: Plan, ledger: Ledger, unselected: Unselected) -> tuple[Unneeded, ...]:
    """Remove what `unneeded` finds.

    Returns:
        What was removed.

    Raises:
        SweepOwnedError: a live launch owns the sweep.
        StorageError: a file cannot be removed; the rest of the ledger is intact.
    """
    with held(ledger.store):
        found = unneeded(plan, ledger, unselected)
        for one in found:
            _remove(ledger, one)
    return found


def _find(plan: Plan, ledger: Ledger, unselected: Unselected) -> Iterator[Unneeded]:
    files = ledger.list_runs()
    states = {name: result.state for name, result in ledger.read_results(files, files).items()}
    final = {name: state for name, state in states.items() if state.status in FINAL}
    losers = unselected(plan, ledger)
    # After an interrupted removal, the file of a run whose status says "removed" may still exist.
    weights = [(name, file) for name in final if name in losers or final[name].removed for file in get_args(Weights)]
    for kind, places in ((WEIGHTS, weights), (CHECKPOINTS, [(name, "checkpoint") for name in final])):
        for name, file in places:
            if file in files[name]:
                yield Unneeded(kind, f"runs/{name}/{file}", files[name][file].size)
    if all(run.folder in final for run in plan.runs):
        for name, found in ledger.store.stats(PREFIXES).items():
            yield Unneeded(SHARED, f"{PREFIXES}/{name}", found.size)
    for path, size in ledger.store.unfinished_writes(_OLD_SECONDS).items():
        yield Unneeded(PARTIAL, path, size)


def _remove(ledger: Ledger, one: Unneeded) -> None:
    if one.kind == WEIGHTS:
        ledger.run(one.path.split("/")[1]).discard_weights()  # and keep their digests in the run's status
    else:
        ledger.store.delete(one.path)
