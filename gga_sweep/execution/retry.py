"""Puts runs back into the queue: the next launch trains them anew from step 0."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gga_sweep.errors import Fault, InputError
from gga_sweep.execution.prepare import prepare_ledger
from gga_sweep.execution.replay import find_run
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import delete_prefixes
from gga_sweep.ledger.stored_sweep import read_results
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan, PlannedRun

_REASON = "requeued by `gga-sweep retry`"
_FAILED = frozenset({RunStatus.FAILED, RunStatus.OUT_OF_MEMORY})
_DIVERGED = frozenset({RunStatus.DIVERGED})


def requeue(
    plan: Plan,
    ledger: Ledger,
    *,
    failed: bool = False,
    diverged: bool = False,
    keys: Sequence[str] = (),
    take_over: bool = False,
) -> tuple[PlannedRun, ...]:
    """Discard what runs have trained: the next launch begins them at step 0.

    Args:
        plan: of the sweep as last launched.
        failed: requeue runs that failed, ran out of memory, or have a damaged file.
        diverged: requeue runs that diverged.
        keys: requeue these runs: names of their folders, or the starts of their keys.
        take_over: stop a live launch first.

    Returns:
        The runs, in the order of the plan; a run that two arms share appears once.

    Raises:
        InputError: a key of no run, or of several; or what a launch would refuse: missing or other images, a folder of
            another name. Nothing was discarded.
        SweepOwnedError: a live launch owns the sweep.
    """
    named = _named(plan, keys)
    _require_sweep_name(plan, ledger)
    with held(ledger.store, take_over=take_over):
        prepare_ledger(plan.sweep)
        statuses = (_FAILED if failed else frozenset()) | (_DIVERGED if diverged else frozenset())
        runs: dict[str, PlannedRun] = {}
        for run in plan.runs:
            runs.setdefault(run.folder, run)
        results = read_results(plan, ledger)
        again = {
            folder: run
            for folder, run in runs.items()
            if folder in results and (run.key in named or results[folder].state.status in statuses)
        }
        if again:
            delete_prefixes(ledger.store)  # otherwise they would begin with a prefix
        for folder in again:
            ledger.run(folder).requeue(_REASON)
    return tuple(again.values())


def _require_sweep_name(plan: Plan, ledger: Ledger) -> None:
    """A launch would look for the ledger in a folder of the sweep's name."""
    if plan.sweep.folder.resolve() != ledger.folder.resolve():
        rule = "must have its sweep's name, so that a launch finds it"
        raise InputError([Fault("DIR", rule, str(ledger.folder), (plan.sweep.name,))])


def _named(plan: Plan, keys: Sequence[str]) -> set[str | None]:
    """The full keys of these runs."""
    found: set[str | None] = set()
    faults: list[Fault] = []
    for key in keys:
        try:
            found.add(find_run(plan, key).key)
        except InputError as error:
            faults += [dataclasses.replace(fault, field="KEY") for fault in error.faults]
    if faults:
        raise InputError(faults, plan.sweep.source)
    return found
