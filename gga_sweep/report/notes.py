"""The notes of a sweep: what its numbers include and leave out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from gga_sweep.ledger.searched_runs import SEARCHED
from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.report.wording import count
from gga_sweep.spec.adaptive_search import adaptive_settings, grace_steps, is_adaptive
from gga_sweep.spec.plan import Plan, SweepSpec
from gga_sweep.spec.samplers import Searcher


def sweep_notes(
    sweep: SweepSpec,
    planned: Sequence[RunRecords],
    searched: Sequence[RunRecords],
    pairs: Sequence[RunRecords],
    outside: int,
    damaged: int,
    of_other_code: Mapping[str, int] = MappingProxyType({}),
    searchers: Sequence[Searcher] = (),
) -> Iterator[str]:
    """The notes of a sweep.

    Args:
        planned: its runs in the table's cells.
        searched: the runs that a user's own searcher added to these cells.
        pairs: the runs of pairs of test domains.
        outside: the number of runs in the ledger that tables leave out.
        damaged: the number of runs of a user's own searcher whose places are lost.
        of_other_code: how many of these were trained with another source of a part of the user's, by its name.
        searchers: those that suggested draws.
    """
    yield from _transductive(sweep)
    yield from _averaging(sweep, (*planned, *searched))
    yield from _adaptive_search(sweep, searchers)
    yield from _early_stopping(sweep, planned)
    if outside:
        others = "".join(
            f", {runs} of them trained with another source of {part}" for part, runs in of_other_code.items()
        )
        yield f"Left out: {count(outside, 'run')} of the ledger outside the present plan{others}."
    if damaged:
        yield f"Left out: {count(damaged, 'run')} of a user's own searcher with a damaged file in {SEARCHED}/."
    if folders := {run.folder for run in (*planned, *searched, *pairs) if run.environments}:
        yield (
            f"Resumed in another environment: {count(len(folders), 'run')}. Their last bits may differ from those of "
            "runs trained in one environment."
        )


def seed_use(plan: Plan, launched: bool = True, searched: bool = False) -> str:
    """What the spread over trial seeds includes.

    Args:
        launched: whether a run of the plan was started.
        searched: whether a user's own Tuner drew hyperparameters.
    """
    if searched and not launched:
        return "Tune drew the hyperparameters, and every trial seed selects from its trials; the spread includes that."
    if searched:
        return f"{seed_use(plan).removesuffix('.')}; trials of a Tuner, whose hyperparameters Tune drew, take part."
    config = plan.sweep.config
    if config.chosen is not None:
        before = f"hyperparameters were chosen before, by {config.chosen.search}"
        if any(cell.trial_seed is not None for cell in config.chosen.cells):
            return f"{before}, for each trial seed separately; the spread includes that search."
        return f"{before}; the spread does not include that search."
    if all(len(run.draws) == 1 for run in plan.runs) and len({run.draws for run in plan.runs}) == 1:
        return "hyperparameters are fixed; the spread is that of splits, initial weights and minibatches."
    if is_adaptive(config) and adaptive_settings(config).objective == "trial-seeds":
        return "trial seeds share one search, and each selects from its draws; the spread includes only the selection."
    if config.search == "tpe-pooled":
        return "trial seeds search together and are not independent; the spread includes only part of the search."
    if is_adaptive(config):
        return "every trial seed searches separately, from its own earlier results; the spread includes the search."
    if config.search == "grid":
        return "every trial seed selects from the same grid; the spread includes the selection."
    return "every trial seed draws its own hyperparameters and selects from them; the spread includes the search."


def _transductive(sweep: SweepSpec) -> Iterator[str]:
    for name, algorithm in {arm.algorithm: arm.declared for arm in sweep.arms}.items():
        if algorithm.transductive:
            yield (
                f"{name} is transductive: its prediction for an image depends on the other images of the batch, in "
                "evaluation too. Other batches or another order of the images give other accuracies."
            )


def _averaging(sweep: SweepSpec, runs: Iterable[RunRecords]) -> Iterator[str]:
    averaging = sweep.training.averaging
    if averaging is None:
        return
    averaged = {run.folder: run.averaged for run in runs if run.averaged is not None}
    without = sum(one.threshold is None for one in averaged.values())
    yield (
        f"Rows + {averaging.method.upper()} have the same runs, with their weights averaged over every step in a "
        f"valley of the validation loss (n_converge {averaging.n_converge}, n_tolerance {averaging.n_tolerance}, "
        f"tolerance_ratio {averaging.tolerance_ratio:g}) and evaluated once. No step is selected."
        + f" No valley was found in {without} of {count(len(averaged), 'run')}: these average the steps since the last "
        "evaluation but one." * bool(without)
    )


def _adaptive_search(sweep: SweepSpec, searchers: Sequence[Searcher]) -> Iterator[str]:
    if not is_adaptive(sweep.config):
        return
    settings = adaptive_settings(sweep.config)
    where = {
        "cell": "each cell",
        "trial-seeds": "each arm and test domain, by the mean over trial seeds, which share their draws",
        "test-domains": "each arm and trial seed, by the mean over test domains, which share their draws",
    }[settings.objective]
    pool = " from the ranks of the draws within the cells of all trial seeds" * (sweep.config.search == "tpe-pooled")
    by = " and ".join(map(str, searchers)) or sweep.config.search
    yield (
        f"The first {settings.n_startup_trials} draws are random; later ones are suggested by {by}{pool}, in "
        f"{where}. It uses validation on the training domains only. Arms have no matched draws."
    )


def _early_stopping(sweep: SweepSpec, runs: Iterable[RunRecords]) -> Iterator[str]:
    stopping = sweep.config.early_stopping
    if stopping is None:
        return
    ended = {run.folder for run in runs if run.status is RunStatus.STOPPED}
    yield (
        f"Stopped early: {count(len(ended), 'run')} outside the best 1/{stopping.reduction_factor} of their cell at a "
        f"rung. The first rung is after {grace_steps(sweep)} steps."
    )
