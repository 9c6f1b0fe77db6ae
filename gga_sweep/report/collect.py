"""From a sweep's plan and its ledger to what tables and reports are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gga_sweep.algorithms import get_algorithm
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.searched import SEARCHED, read_searched
from gga_sweep.records import Cell, RunRecords, RunStatus
from gga_sweep.selection import SweepView, with_averaged_arms
from gga_sweep.spec.adaptive import adaptive_settings, grace_steps, is_adaptive, needs_order
from gga_sweep.spec.averaging import averaged_name
from gga_sweep.spec.plan import Plan, Sweep


def collect(plan: Plan, ledger: Ledger) -> SweepView:
    """All runs of the plan that were started, and those that a user's own searcher added."""
    files = ledger.list_runs()
    entries, damaged = read_searched(ledger)
    begun = [(run, folder) for run in plan.runs if (folder := run.folder) is not None and folder in files]
    stored = ledger.read_results({folder for _, folder in begun} | {entry.folder for entry in entries}, files)
    sweep = plan.sweep
    started = [RunRecords(run.place, stored[folder]) for run, folder in begun]
    pair_records = tuple(run for run in started if run.cell.test_domains in sweep.pairs)
    planned = [run for run in started if run.cell.test_domains not in sweep.pairs]
    taken = {(run.cell, run.key) for run in planned}
    searched = [
        run
        for run in (RunRecords(entry.place, stored[entry.folder]) for entry in entries)
        if (run.cell, run.key) not in taken and _in_plan(run.cell, plan)
    ]
    launched, free = {run.cell.arm for run in planned}, {run.cell.arm for run in searched}
    shown = {run.folder for run in (*started, *searched)}
    outside = len(files.keys() - shown)
    draws: dict[str, set[int]] = {}
    for run in plan.runs:
        draws.setdefault(run.cell.arm, set()).update(run.draws)
    if is_adaptive(sweep.config):
        draws = {arm.name: {*range(arm.draws)} for arm in sweep.arms}
    view = SweepView(
        name=sweep.name,
        dataset=sweep.dataset.name,
        protocol=sweep.protocol.name,
        deviations=(*sweep.protocol.deviations, *sweep.deviations),
        arms=tuple(arm.name for arm in sweep.arms),
        test_domains=sweep.test_domains,
        trial_seeds=sweep.config.trial_seeds,
        draws={arm: tuple(sorted(numbers)) for arm, numbers in draws.items() if arm in launched or arm not in free},
        records=(*planned, *searched),
        baselines={arm.name: arm.baseline for arm in sweep.arms if arm.baseline is not None},
        searched=frozenset(free),
        pairs=sweep.pairs,
        pair_records=pair_records,
        after_windows=_after_windows(plan),
        blocks={arm.name: arm.block for arm in sweep.arms},
        factors={arm.name: arm.factors for arm in sweep.arms},
        hosts=_hosts(sweep),
        seed_use=_seed_use(plan),
        matched_draws=sweep.config.chosen is None and not needs_order(sweep.config),
        notes=(
            *_transductive(sweep),
            *_averaging(sweep, (*planned, *searched)),
            *_adapted(sweep),
            *_ended_early(sweep, planned),
            *_notes(outside, damaged, [run for run in (*started, *searched) if run.environments]),
        ),
    )
    averaging = sweep.training.averaging
    return view if averaging is None else with_averaged_arms(view, lambda name: averaged_name(name, averaging))


def _adapted(sweep: Sweep) -> Iterator[str]:
    """What is not as in a random search, and must be known of every number that follows."""
    if not is_adaptive(sweep.config):
        return
    settings = adaptive_settings(sweep.config)
    where = {
        "cell": "each cell",
        "trial-seeds": "each arm and test domain, by the mean over trial seeds, which share their draws",
        "test-domains": "each arm and trial seed, by the mean over test domains, which share their draws",
    }[settings.objective]
    pool = " from the ranks of the draws within the cells of all trial seeds" * (sweep.config.search == "tpe-pooled")
    yield (
        f"The first {settings.startup} draws are random; later ones were suggested by a TPE{pool}, in {where}. It is "
        "told validation on the training domains alone. Arms have no matched draws."
    )


def _ended_early(sweep: Sweep, runs: Iterable[RunRecords]) -> Iterator[str]:
    stopping = sweep.config.early_stopping
    if stopping is None:
        return
    ended = {run.folder for run in runs if run.status is RunStatus.STOPPED}
    yield (
        f"Ended early, since not among the best 1/{stopping.reduction} of their cell at a rung: {_runs(len(ended))}, "
        f"which lack their full length; none before {grace_steps(sweep)} steps."
    )


def _hosts(sweep: Sweep) -> dict[str, str]:
    """Annealed arms whose baseline is the same algorithm without annealing, with that algorithm."""
    plain = {arm.name: arm.algorithm for arm in sweep.arms if arm.annealing is None}
    return {
        arm.name: arm.algorithm
        for arm in sweep.arms
        if arm.annealing is not None and plain.get(arm.baseline or "") == arm.algorithm
    }


def _transductive(sweep: Sweep) -> Iterator[str]:
    """What no accuracy of such an algorithm may be printed without."""
    for name in dict.fromkeys(arm.algorithm for arm in sweep.arms):
        if get_algorithm(name).transductive:
            yield (
                f"{name} is transductive: what it predicts of an image depends on the other images of its batch, in "
                "evaluation too. Other batches or another order of the images give other accuracies."
            )


def _averaging(sweep: Sweep, runs: Iterable[RunRecords]) -> Iterator[str]:
    """What the rows of averaged weights are."""
    averaging = sweep.training.averaging
    if averaging is None:
        return
    averaged = {run.folder: run.averaged for run in runs if run.averaged is not None}
    without = sum(one.threshold is None for one in averaged.values())
    yield (
        f"Rows + {averaging.method.upper()}: of the same runs the weights averaged over every step in a valley of the "
        f"validation loss (n_converge {averaging.n_converge}, n_tolerance {averaging.n_tolerance}, tolerance_ratio "
        f"{averaging.tolerance_ratio:g}), evaluated once; no step is selected."
        + f" In {without} of {_runs(len(averaged))} there was none: averaged since the last evaluation but one."
        * bool(without)
    )


def _notes(outside: int, damaged: int, resumed: Iterable[RunRecords]) -> Iterator[str]:
    """What is said of runs that are left out, and of those that one environment began and another went on with."""
    if outside:
        yield f"Left out, since not in the present plan: {_runs(outside)} of the ledger."
    if damaged:
        yield f"Left out, since their places in {SEARCHED}/ are damaged: {_runs(damaged)} of a user's own searcher."
    if folders := {run.folder for run in resumed}:
        yield (
            f"Not trained in one environment from end to end: {_runs(len(folders))}, whose last bits may differ from "
            "those of a run that was."
        )


def _after_windows(plan: Plan) -> int:
    """The first step after every annealing window of the plan; 0 without one."""
    blocks = (run.config.annealing or {} for run in plan.runs)
    return max(
        (int(block["start_step"]) + int(block["num_steps"]) for block in blocks if "start_step" in block), default=0
    )


def _seed_use(plan: Plan) -> str:
    """What the spread over trial seeds includes."""
    config = plan.sweep.config
    if config.chosen is not None:
        before = f"hyperparameters were chosen before, by {config.chosen.search}"
        if any(cell.trial_seed is not None for cell in config.chosen.cells):
            return f"{before}, for each trial seed by itself; the spread includes that search."
        return f"{before}; the spread leaves that search out."
    if all(len(run.draws) == 1 for run in plan.runs) and len({run.draws for run in plan.runs}) == 1:
        return "hyperparameters are fixed; the spread is that of splits, initial weights and minibatches."
    if is_adaptive(config) and adaptive_settings(config).objective == "trial-seeds":
        return "trial seeds share one search, and each selects from its draws; the spread includes the selection alone."
    if config.search == "tpe-pooled":
        return "trial seeds search together and are not independent in that; the spread includes less than the search."
    if is_adaptive(config):
        return "every trial seed searches by itself, from its own earlier results; the spread includes the search."
    if config.search == "grid":
        return "every trial seed selects from the same grid; the spread includes the selection."
    return "every trial seed draws its own hyperparameters and selects from them; the spread includes the search."


def fingerprint_of(ledger: Ledger, runs: Iterable[RunRecords]) -> dict[str, str]:
    """The environment of the runs; where they differ, every value with the number of runs it stands for."""
    counts: dict[str, dict[str, int]] = {}
    for header in ledger.read_headers(dict.fromkeys(run.folder for run in runs)):
        for name, value in (header.fingerprint if header else {}).items():
            of_name = counts.setdefault(name, {})
            of_name[value] = of_name.get(value, 0) + 1
    return {
        name: next(iter(values))
        if len(values) == 1
        else "; ".join(f"{value} ({_runs(number)})" for value, number in values.items())
        for name, values in counts.items()
    }


def _runs(number: int) -> str:
    return f"{number} run" if number == 1 else f"{number} runs"


def _in_plan(cell: Cell, plan: Plan) -> bool:
    return (
        cell.arm in {arm.name for arm in plan.sweep.arms}
        and cell.test_domains in plan.sweep.test_domains
        and cell.trial_seed in plan.sweep.config.trial_seeds
    )
