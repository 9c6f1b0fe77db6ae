"""The order of an adaptive sweep: each draw rests on the lower draws of its cell, on nothing else and on no clock."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from trained_sweep import DIGITS

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.suggested_draws import read_suggested
from gga_sweep.records import (
    Agreement,
    Cell,
    DomainScores,
    Record,
    RunStatus,
    Score,
    TestRecord,
    ValidationRecord,
)
from gga_sweep.scheduling.next_runs import EndedEarly, NextRun, NextRuns
from gga_sweep.spec import Contents, PlannedRun, SweepSpec, load, plan_sweep

CONTENTS = Contents(dataset="d" * 32)
NO_AGREEMENT = Agreement(((1.0,),), (1.0,), 1.0, 1.0)
STEPS = (0, 2, 4, 6, 8, 10, 11)
HARD = {"0": 0.0, "75": 0.5}
"""Test domain -> by how much its cells score less."""


def sweep_in(storage: Path, **changes: Any) -> SweepSpec:
    return load(
        {
            **DIGITS,
            "search": "tpe",
            "draws": 7,
            "adaptive": {"n_startup_trials": 3},
            "training": {"steps": 12, "evaluate_every": 2},
            **changes,
        },
        storage=storage,
    )


def accuracy(run: PlannedRun, step: int) -> float:
    """Best at a rate of 1e-2, rising with the steps."""
    rate = float(run.hyperparameters["lr"])
    return (0.95 - min(0.3, abs(rate - 1e-2) * 5) - HARD[run.cell.test_domains[0]]) * (1 - 0.5 ** (1 + step))


def record(run: PlannedRun, step: int, test_accuracy: float) -> Record:
    score = Score(accuracy(run, step), 1.0)
    validation = ValidationRecord(step, {"15": DomainScores(score, score)}, 1.0, NO_AGREEMENT, NO_AGREEMENT)
    seen = Score(test_accuracy, 1.0)
    return Record(validation, TestRecord({"0": DomainScores(seen, seen)}, {"0": 0.0}))


def train(ledger: Ledger, following: NextRun, test_accuracy: float = 0.5, status: RunStatus = RunStatus.DONE) -> None:
    """What a run would leave, whose validation follows from its hyperparameters."""
    folder, reason_to_end = (
        ledger.run(str(following.run.folder)),
        EndedEarly(following.cutoffs, following.first_step, "accuracy"),
    )
    folder.claim({})
    records: list[Record] = []
    for step in STEPS:
        records.append(record(following.run, step, test_accuracy))
        if step < STEPS[-1] and reason_to_end([one.validation for one in records]):
            status = RunStatus.STOPPED
            break
    folder.write_records(records)
    folder.write_state(status, records[-1].step)


Trained = dict[tuple[Cell, int], tuple[str, int]]
"""By cell and draw: the run's key, and its last step."""


def train_all(sweep: SweepSpec, devices: int = 1, seed: int = 0, stop_after: int | None = None, **how: Any) -> Trained:
    """Train a sweep on so many devices, whose runs end in an order of their own."""
    ledger, numbers = Ledger(sweep.folder), random.Random(seed)
    source, training, done = NextRuns(sweep, CONTENTS, ledger), list[NextRun](), 0
    while not source.exhausted and done != stop_after:
        while len(training) < devices and (following := source.take()) is not None:
            training.append(following)
        if not training:
            continue  # what was suggested last had been trained before
        ended = training.pop(numbers.randrange(len(training)))
        train(ledger, ended, **how)
        source.ended(str(ended.run.key))
        done += 1
    return trained(sweep)


def trained(sweep: SweepSpec) -> Trained:
    ledger = Ledger(sweep.folder)
    return {
        (run.cell, draw): (run.key, ledger.run(run.folder).read_state().step)
        for run in plan_sweep(sweep, CONTENTS, read_suggested(ledger)).runs
        for draw in run.draws
    }


STOPPING: dict[str, Any] = {"early_stopping": {"reduction_factor": 2, "grace_period": 3}}
GENERATIONS: dict[str, Any] = {
    "search": "optuna.samplers:NSGAIISampler",
    "adaptive": {"n_startup_trials": 2, "arguments": {"population_size": 2}},
    "search_space": {"lr": {"loguniform": [1e-3, 1e-1]}, "dropout": {"uniform": [0, 0.5]}},
}
"""A sampler that keeps a state: each generation descends from the one before."""

SEARCHES: dict[str, dict[str, Any]] = {
    "each cell": {},
    "with early stopping": STOPPING,
    "two at once": {"adaptive": {"n_startup_trials": 3, "at_once": 2}},
    "over trial seeds": {
        "trial_seeds": [0, 1],
        "adaptive": {"n_startup_trials": 3, "objective": "trial-seeds"},
        **STOPPING,
    },
    "pooled": {"search": "tpe-pooled", "trial_seeds": [0, 1], "draws": 5},
    "shared hyperparameters": {
        "protocol": "shared-hp",
        "adaptive": {"n_startup_trials": 3, "objective": "test-domains"},
    },
    "a sampler": GENERATIONS,
    "a sampler, two at once, over trial seeds, with early stopping": {
        "search": "optuna.samplers:TPESampler",
        "trial_seeds": [0, 1],
        "adaptive": {"n_startup_trials": 2, "at_once": 2, "objective": "trial-seeds"},
        **STOPPING,
    },
    "random, with early stopping": {"search": "random", "adaptive": None, **STOPPING},
}


@pytest.mark.parametrize("search", SEARCHES)
def test_every_cell_gets_its_draws_and_neither_devices_nor_restarts_change_them(search: str, tmp_path: Path) -> None:
    one = train_all(sweep_in(tmp_path / "one", **SEARCHES[search]))
    sweep = sweep_in(tmp_path / "one", **SEARCHES[search])
    assert len(one) == len(sweep.arms) * 2 * len(sweep.config.trial_seeds) * sweep.config.draws
    assert train_all(sweep_in(tmp_path / "many", **SEARCHES[search]), devices=5, seed=1) == one
    stopped = sweep_in(tmp_path / "stopped", **SEARCHES[search])
    for launch in range(4):
        train_all(stopped, devices=3, seed=launch, stop_after=5)
    assert train_all(stopped, devices=2) == one


def test_suggestions_are_better_than_random_draws(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, draws=20)
    train_all(sweep)
    runs = plan_sweep(sweep, CONTENTS, read_suggested(Ledger(sweep.folder))).runs
    random_ones = [accuracy(run, 11) + HARD[run.cell.test_domains[0]] for run in runs if 0 < run.draws[0] < 3]
    suggested = [accuracy(run, 11) + HARD[run.cell.test_domains[0]] for run in runs if run.draws[0] > 12]
    assert sum(suggested) / len(suggested) > sum(random_ones) / len(random_ones) + 0.05


@pytest.mark.parametrize("search", [{}, GENERATIONS], ids=["tpe", "a sampler"])
def test_no_test_number_reaches_a_searcher_or_an_early_end(search: dict[str, Any], tmp_path: Path) -> None:
    low = train_all(sweep_in(tmp_path / "low", **STOPPING, **search), test_accuracy=0.0)
    assert train_all(sweep_in(tmp_path / "high", **STOPPING, **search), test_accuracy=1.0) == low


def test_the_arguments_of_a_sampler_count(tmp_path: Path) -> None:
    small = train_all(sweep_in(tmp_path / "small", **GENERATIONS))
    large = {**GENERATIONS, "adaptive": {"n_startup_trials": 2, "arguments": {"population_size": 9}}}
    assert train_all(sweep_in(tmp_path / "large", **large)) != small


def test_a_run_trained_after_all_leaves_a_sampler_its_earlier_suggestions(tmp_path: Path) -> None:
    """Its replay gives other values than those recorded, once an earlier result is there after all."""
    only = {**GENERATIONS, "test_domains": ["0"], "arms": [{}]}
    statuses = iter([RunStatus.DONE, RunStatus.FAILED])
    first, more = sweep_in(tmp_path, **only), sweep_in(tmp_path, **{**only, "draws": 9})
    for sweep in (first, more):
        ledger = Ledger(sweep.folder)
        source = NextRuns(sweep, CONTENTS, ledger)
        while (following := source.take()) is not None:
            train(ledger, following, status=next(statuses, RunStatus.DONE))
            source.ended(following.run.key)
    assert trained(first).items() <= trained(more).items()
    assert len(trained(more)) == 9


def test_shared_draws_are_shared(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, **SEARCHES["over trial seeds"])
    train_all(sweep)
    drawn: dict[tuple[str, tuple[str, ...], int], set[Any]] = {}
    for run in plan_sweep(sweep, CONTENTS, read_suggested(Ledger(sweep.folder))).runs:
        for draw in run.draws:
            drawn.setdefault((run.cell.arm, run.cell.test_domains, draw), set()).add(run.hyperparameters["lr"])
    assert {len(values) for values in drawn.values()} == {1}


def test_cells_are_ended_early_by_their_own_runs_and_the_hard_one_as_late_as_the_easy(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, draws=12, search="random", adaptive=None, **STOPPING)
    ends = train_all(sweep)
    by_domain = {
        name: sorted(step for (cell, _), (_, step) in ends.items() if cell.test_domains == (name,)) for name in HARD
    }
    assert by_domain["0"] == by_domain["75"]
    assert by_domain["0"].count(11) < len(by_domain["0"]) / 2
    assert min(by_domain["0"]) == 2


def test_a_failed_run_is_no_result_and_its_cell_goes_on(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, test_domains=["0"], arms=[{}], draws=4)
    ledger = Ledger(sweep.folder)
    source = NextRuns(sweep, CONTENTS, ledger)
    statuses = iter([RunStatus.DONE, RunStatus.FAILED, RunStatus.DONE, RunStatus.DONE])
    keys = []
    while not source.exhausted:
        following = source.take()
        assert following is not None
        keys.append(str(following.run.key))
        train(ledger, following, status=next(statuses))
        source.ended(keys[-1])
    assert len(keys) == 4
    again = NextRuns(sweep, CONTENTS, ledger)
    assert not again.exhausted
    following = again.take()
    assert following is not None
    assert following.run.key == keys[1]
    assert NextRuns(sweep, CONTENTS, ledger, given_up=[keys[1]]).exhausted


def test_a_run_that_two_arms_share_is_handed_out_once(tmp_path: Path) -> None:
    arms = [{"name": "one"}, {"name": "two"}]
    sweep = sweep_in(tmp_path, test_domains=["0"], arms=arms)
    source, taken = NextRuns(sweep, CONTENTS, Ledger(sweep.folder)), []
    while (following := source.take()) is not None:
        taken.append(following.run.key)
    assert len(taken) == len(set(taken)) == 3


def test_arms_with_the_same_results_get_the_same_suggestions(tmp_path: Path) -> None:
    """Random numbers depend on no arm: so what differs between arms is what came of their runs."""
    arms: list[dict[str, Any]] = [{"algorithm": "ERM"}, {"algorithm": "Mixup"}]
    sweep = sweep_in(tmp_path, test_domains=["0"], arms=arms)
    train_all(sweep)
    by_arm: dict[str, list[Any]] = {}
    for run in plan_sweep(sweep, CONTENTS, read_suggested(Ledger(sweep.folder))).runs:
        by_arm.setdefault(run.cell.arm, []).append(run.hyperparameters["lr"])
    assert by_arm["ERM"] == by_arm["Mixup"]
    assert len(by_arm["ERM"]) == 7
