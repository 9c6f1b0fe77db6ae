"""Reads a sweep's runs from its ledger, for selection and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.searched_runs import read_searched
from gga_sweep.ledger.stored_sweep import read_origin
from gga_sweep.ledger.suggested_draws import read_searchers
from gga_sweep.records import Cell, RunRecords
from gga_sweep.report.notes import seed_use, sweep_notes
from gga_sweep.report.wording import count
from gga_sweep.selection import SweepView, with_averaged_arms
from gga_sweep.spec.adaptive_search import is_adaptive, last_window_end, needs_order
from gga_sweep.spec.arm_values import arm_settings, searched_space
from gga_sweep.spec.averaging import averaged_name
from gga_sweep.spec.plan import Plan, SweepSpec


def collect(plan: Plan, ledger: Ledger) -> SweepView:
    """The sweep with all runs of the plan that were started, and those that a user's own searcher added."""
    files = ledger.list_runs()
    entries, damaged = read_searched(ledger)
    of_searchers = {entry.folder for entry in entries}
    planned_alone = {run.folder for run in plan.runs} - of_searchers  # by their keys, of the plan's own source
    others = _changed_parts(plan, ledger, files.keys() - planned_alone)
    begun = [run for run in plan.runs if run.folder in files and run.folder not in others]
    stored = ledger.read_results({run.folder for run in begun} | of_searchers, files)
    sweep = plan.sweep
    started = [RunRecords(run.place, stored[run.folder]) for run in begun]
    pair_records = [run for run in started if run.cell.test_domains in sweep.pairs]
    planned = [run for run in started if run.cell.test_domains not in sweep.pairs]
    taken = {(run.cell, run.key) for run in planned}
    searched = [
        run
        for run in (RunRecords(entry.place, stored[entry.folder]) for entry in entries)
        if (run.cell, run.key) not in taken and _in_plan(run.cell, plan) and run.folder not in others
    ]
    free = {run.cell.arm for run in searched}
    outside = files.keys() - {run.folder for run in (*started, *searched)}
    of_other_code = Counter(part for parts in others.values() for part in parts)
    view = SweepView(
        name=sweep.name,
        dataset=sweep.dataset.name,
        protocol=sweep.protocol.name,
        deviations=(*sweep.protocol.deviations, *sweep.deviations),
        arms=tuple(arm.name for arm in sweep.arms),
        test_domains=sweep.test_domains,
        trial_seeds=sweep.config.trial_seeds,
        draws=_planned_draws(plan, without=free - {run.cell.arm for run in planned}),
        records=(*planned, *searched),
        metric=sweep.config.metric,
        baselines={arm.name: arm.baseline for arm in sweep.arms if arm.baseline is not None},
        searched=frozenset(free),
        pairs=sweep.pairs,
        pair_records=tuple(pair_records),
        after_windows=last_window_end(sweep),
        blocks={arm.name: arm.block for arm in sweep.arms},
        factors={arm.name: arm.factors for arm in sweep.arms},
        settings={arm.name: arm_settings(sweep, arm) for arm in sweep.arms},
        algorithms=_annealed_algorithms(sweep),
        seed_use=seed_use(plan, launched=bool(planned), searched=bool(searched)),
        matched_draws=sweep.config.chosen is None and not needs_order(sweep.config),
        log_scaled=frozenset(
            name
            for arm in sweep.arms
            for name, searched in searched_space(sweep, arm).items()
            if searched.kind.startswith("log")
        ),
        notes=tuple(
            sweep_notes(
                sweep,
                planned,
                searched,
                pair_records,
                len(outside),
                damaged,
                of_other_code,
                read_searchers(ledger) if is_adaptive(sweep.config) else (),
            )
        ),
    )
    averaging = sweep.training.averaging
    return view if averaging is None else with_averaged_arms(view, lambda name: averaged_name(name, averaging))


def fingerprint_of(headers: Iterable[RunHeader]) -> dict[str, str]:
    """The environment of the runs; values that differ are listed with their numbers of runs."""
    counts: dict[str, dict[str, int]] = {}
    for header in headers:
        for name, value in header.fingerprint.items():
            of_name = counts.setdefault(name, {})
            of_name[value] = of_name.get(value, 0) + 1
    return {
        name: next(iter(values))
        if len(values) == 1
        else "; ".join(f"{value} ({count(number, 'run')})" for value, number in values.items())
        for name, values in counts.items()
    }


def provenance_of(ledger: Ledger, headers: Sequence[RunHeader]) -> dict[str, str]:
    """Where the runs come from, in words: dates, command, package, dataset, ledger."""
    found: dict[str, str] = {}
    if headers:
        first, last = (_date(end(header.start_time for header in headers)) for end in (min, max))
        found["Runs started"] = first if first == last else f"{first} to {last}"
    if origin := read_origin(ledger):
        found["Command"] = origin.command or "launched from Python"
        commit = f", commit {origin.commit}{' with changes' * origin.changed}" * bool(origin.commit)
        found["gga-sweep"] = origin.version + commit
    if digests := dict.fromkeys(header.dataset_digest for header in headers):
        found["Dataset digest"] = ", ".join(digests)
    return {**found, "Ledger": str(ledger.folder)}


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _changed_parts(plan: Plan, ledger: Ledger, folders: Iterable[str]) -> dict[str, list[str]]:
    """The parts of the user's that had another source than the plan's when a run was trained; by folder, if any."""
    code = {part: digest for run in plan.runs for part, digest in run.code.items()}
    names = sorted(folders) if code else []
    changed = {}
    for name, header in zip(names, ledger.read_headers(names), strict=True):
        trained = {} if header is None else header.code
        if parts := [part for part, digest in code.items() if trained.get(part, digest) != digest]:
            changed[name] = parts
    return changed


def _planned_draws(plan: Plan, without: set[str]) -> dict[str, tuple[int, ...]]:
    """The draw numbers of each arm, without those that only a user's own searcher trained."""
    draws: dict[str, set[int]] = {}
    for run in plan.runs:
        draws.setdefault(run.cell.arm, set()).update(run.draws)
    if is_adaptive(plan.sweep.config):
        draws = {arm.name: {*range(arm.draws)} for arm in plan.sweep.arms}
    return {arm: tuple(sorted(numbers)) for arm, numbers in draws.items() if arm not in without}


def _annealed_algorithms(sweep: SweepSpec) -> dict[str, str]:
    """Annealed arms whose baseline is the same algorithm without annealing, with that algorithm."""
    plain = {arm.name: arm.algorithm for arm in sweep.arms if arm.annealing is None}
    return {
        arm.name: arm.algorithm
        for arm in sweep.arms
        if arm.annealing is not None and plain.get(arm.baseline or "") == arm.algorithm
    }


def _in_plan(cell: Cell, plan: Plan) -> bool:
    return (
        cell.arm in {arm.name for arm in plan.sweep.arms}
        and cell.test_domains in plan.sweep.test_domains
        and cell.trial_seed in plan.sweep.config.trial_seeds
    )
