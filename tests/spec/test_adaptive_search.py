"""Adaptive search in a plan: random draws first, then what was suggested; and what cannot be searched so."""

from __future__ import annotations

from typing import Any

import pytest
from sweep_content import CONTENTS, fault_cases, faults_of, two_arms

from gga_sweep.errors import InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.suggested_draws import keep_suggested, read_suggested
from gga_sweep.records import Cell
from gga_sweep.scheduling.estimate import estimate_from
from gga_sweep.scheduling.price import price_of
from gga_sweep.spec import SweepSpec, load, plan_sweep
from gga_sweep.spec.adaptive_search import draw_groups, grace_steps, last_window_end, pool_of, unsuggested_runs
from gga_sweep.spec.models import RunSpec
from gga_sweep.spec.samplers import searcher_of

TPE: dict[str, Any] = {"search": "tpe", "draws": 6, "adaptive": {"n_startup_trials": 3}}
SHARED_HP: dict[str, Any] = {
    **TPE,
    "protocol": "shared-hp",
    "adaptive": {"n_startup_trials": 3, "objective": "test-domains"},
}
OVER_SEEDS = {"adaptive": {"n_startup_trials": 3, "objective": "trial-seeds"}}
STOPPING: dict[str, Any] = {
    "early_stopping": {"reduction_factor": 2, "grace_period": 7},
    "training": {"steps": 10, "evaluate_every": 2},
}


def sweep_of(**changes: Any) -> SweepSpec:
    return load(two_arms(**{**TPE, **changes}))


def test_the_first_draws_are_those_of_random_search() -> None:
    random = {(run.cell, run.draws): run.key for run in plan_sweep(load(two_arms(draws=3)), CONTENTS).runs}
    adaptive = plan_sweep(sweep_of(), CONTENTS)
    assert {(run.cell, run.draws): run.key for run in adaptive.runs} == random
    assert unsuggested_runs(adaptive) == 3 * 8


def test_a_suggestion_is_a_run_of_its_cell(tmp_path: Any) -> None:
    sweep, ledger = sweep_of(), Ledger(tmp_path)
    cell = Cell("RotatedDigits", "ERM", ("75",), 1)
    keep_suggested(ledger, cell, {3: {"lr": 2e-3}, 6: {"lr": 1e-3}}, searcher_of(sweep.config))
    plan = plan_sweep(sweep, CONTENTS, read_suggested(ledger))
    (added,) = (run for run in plan.runs if 3 in run.draws)
    assert (added.cell, added.hyperparameters) == (cell, {"lr": 2e-3})
    fixed = load(two_arms(draws=1, search_space={}, defaults={"lr": 2e-3}, arms=[{}], training={"steps": 10}))
    (same,) = (run for run in plan_sweep(fixed, CONTENTS).runs if run.cell == cell)
    assert added.key == same.key
    assert not any(6 in run.draws for run in plan.runs), "beyond the draws of the file"


def test_a_damaged_file_of_suggestions_counts_as_absent(tmp_path: Any) -> None:
    ledger = Ledger(tmp_path)
    keep_suggested(ledger, Cell("RotatedDigits", "ERM", ("75",), 1), {3: {"lr": 2e-3}}, searcher_of(sweep_of().config))
    (file,) = (tmp_path / "suggested").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    assert read_suggested(ledger) == {}


def test_cells_that_share_their_draws_have_the_same_random_ones() -> None:
    by_seed = plan_sweep(sweep_of(**OVER_SEEDS), CONTENTS).runs
    rates = {(run.cell.trial_seed, draw): run.hyperparameters["lr"] for run in by_seed for draw in run.draws}
    assert [rates[0, draw] for draw in range(3)] == [rates[1, draw] for draw in range(3)]
    own = {
        run.cell.trial_seed: run.hyperparameters["lr"]
        for run in plan_sweep(sweep_of(), CONTENTS).runs
        if 2 in run.draws
    }
    assert own[0] != own[1]


def test_draws_are_shared_by_what_the_objective_averages_over() -> None:
    def sizes(**changes: Any) -> set[tuple[int, int, int]]:
        groups = draw_groups(sweep_of(**changes))
        return {
            (
                len({cell.test_domains for cell in group.cells}),
                len({cell.trial_seed for cell in group.cells}),
                len(groups),
            )
            for group in groups
        }

    assert sizes() == {(1, 1, 8)}
    assert sizes(**OVER_SEEDS) == {(1, 2, 4)}
    assert sizes(**SHARED_HP) == {(2, 1, 4)}


def test_a_pool_never_holds_cells_of_other_test_domains() -> None:
    groups = draw_groups(sweep_of(search="tpe-pooled"))
    for group in groups:
        pool = pool_of(group, groups)
        assert len(pool) == 2
        assert {cell.test_domains for other in pool for cell in other.cells} == {group.cells[0].test_domains}


def test_no_run_is_ended_before_every_possible_window_has_ended() -> None:
    space = {"annealing.num_steps": {"integers": [1, 4]}, "lr": {"loguniform": [3e-4, 3e-3]}}
    stopping = {"early_stopping": {}, "training": {"steps": 20, "evaluate_every": 5}}
    assert grace_steps(sweep_of(**stopping, search_space=space)) == 2 + 4 + 1
    assert grace_steps(sweep_of(**stopping, arms=[{}, {"algorithm": "CORAL"}], defaults={})) == 1
    assert grace_steps(sweep_of(**STOPPING)) == 7


def test_windows_of_chosen_values_count_as_they_were_chosen() -> None:
    starts = {"0": 4, "15": 9}
    cells: list[dict[str, Any]] = [
        {"arm": "annealed", "test_domains": [domain], "values": {"annealing.start_step": start}}
        for domain, start in starts.items()
    ]
    cells += [{"arm": "ERM", "test_domains": [domain]} for domain in starts]
    content: dict[str, Any] = {
        "name": "windows",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{}, {"name": "annealed", "annealing": {"num_steps": 3}}],
        "test_domains": [*starts],
        "defaults": {"annealing.start_step": 1},
        "chosen": {"search": "of another sweep", "cells": cells},
        "training": {"steps": 20, "evaluate_every": 5},
    }
    assert last_window_end(load(content)) == 9 + 3


@pytest.mark.parametrize(
    ("select_from", "evaluate", "first"),
    [
        ("after-window", "selection", 2 + 4),
        ("after-window", "all", 0),
        ("any", "selection", 0),
    ],
)
def test_runs_know_the_end_of_the_windows_where_it_decides_what_is_evaluated(
    select_from: str, evaluate: str, first: int
) -> None:
    content: dict[str, Any] = {
        "name": "w",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{}, {"annealing": {"start_step": 2}}],
        "search": "random",
        "draws": 2,
        "defaults": {"annealing.num_steps": 3},
        "search_space": {"annealing.num_steps": {"integers": [1, 4]}},
        "select_from": select_from,
        "training": {"steps": 20, "evaluate_every": 5, "evaluate": evaluate},
    }
    assert {run.config.selected_from for run in plan_sweep(load(content), CONTENTS).runs} == {first}


def test_evaluations_are_where_training_makes_them() -> None:
    training = sweep_of(training={"steps": 10, "evaluate_every": 3}).training
    assert training.evaluated_steps == [step for step in range(10) if step % 3 == 0 or step == 9]
    training = sweep_of(training={"steps": 11, "evaluate_every": 4}).training
    assert training.evaluated_steps == [0, 4, 8, 10]


REFUSED = fault_cases("""
{search: random}
    -> adaptive: needs an adaptive search, not random
{draws: 3}
    -> draws: must exceed the random draws at the start, adaptive.n_startup_trials 3, got 3
{arms: [{}, {algorithm: ERM, annealing: {method: gga}, draws: 2}]}
    -> arms[1].draws: must exceed the random draws at the start, adaptive.n_startup_trials 3, got 2
{search_space: {}}
    -> search_space: tpe needs something to search in the arm 'ERM'
{search_space: {annealing.radius: {loguniform: [1.0e-6, 0.001]}}}
    -> search_space: tpe needs something to search in the arm 'ERM'
{chosen: {search: another, cells: [{arm: ERM, test_domains: '0'}]}}
    -> search: is replaced by `chosen`; leave it out, got 'tpe'
{selection: [leave-one-domain-out]}
    -> selection: leave-one-domain-out needs the same draws with other test domains, which tpe does not make
{adaptive: {n_startup_trials: 3, objective: test-domains}}
    -> adaptive.objective: over test domains a searcher would learn from the labels it is tested on; only protocol
    shared-hp, with its own selection, says so, got 'test-domains'
{search: tpe, draws: 6, adaptive: {n_startup_trials: 3, objective: test-domains}, protocol: shared-hp, selection:
  [training-domain-validation]}
    -> adaptive.objective: over test domains a searcher would learn from the labels it is tested on; only protocol
    shared-hp, with its own selection, says so, got 'test-domains'
{protocol: shared-hp}
    -> adaptive.objective: selection shared-draw needs the same draws with all test domains, got 'cell'
{search: tpe-pooled, trial_seeds: [0]}
    -> trial_seeds: tpe-pooled needs two cells or more to pool, got [0]
{search: tpe-pooled, adaptive: {n_startup_trials: 3, objective: trial-seeds}}
    -> adaptive.objective: leaves tpe-pooled nothing to pool: it pools trial seeds, got 'trial-seeds'
{early_stopping: {grace_period: 5}, training: {steps: 10, evaluate_every: 2}}
    -> early_stopping.grace_period: must end past the annealing window 2..4, got 5
{early_stopping: {grace_period: 10}, training: {steps: 10, evaluate_every: 2}}
    -> early_stopping.grace_period: must leave an evaluation before the last step, at which to stop, got 10
{early_stopping: {}, training: {steps: 10, evaluate_every: 5}, defaults: {annealing.start_step: 4,
  annealing.num_steps: 5}}
    -> early_stopping: needs an evaluation past every annealing window and before the last step, at which to stop
{early_stopping: {grace_period: 7}, training: {steps: 20, evaluate_every: 2, averaging: swad}}
    -> early_stopping: training.averaging needs runs to their end
{early_stopping: {reduction_factor: 1}, training: {steps: 10, evaluate_every: 2}}
    -> early_stopping.reduction_factor: must be greater than or equal to 2, got 1
{adaptive: {start: 3}}
    -> adaptive.start: unknown field, got 3
""")


@pytest.mark.parametrize(("changes", "expected"), REFUSED)
def test_what_cannot_be_searched_is_refused(changes: dict[str, Any], expected: str) -> None:
    assert expected in faults_of(two_arms(**{**TPE, **changes}))


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"search: needs Optuna: install .*gga-sweep\[search\]"):
        sweep_of()


def test_a_search_changes_no_run_and_no_key_of_other_sweeps() -> None:
    assert "adaptive" not in RunSpec.model_fields
    plain = {run.key for run in plan_sweep(load(two_arms()), CONTENTS).runs}
    stopped = two_arms(early_stopping={"grace_period": 7}, training={"steps": 10, "evaluate_every": 50})
    with pytest.raises(InputError):
        load(stopped)
    stopped = two_arms(early_stopping={"grace_period": 7}, training={"steps": 10, "evaluate_every": 7})
    assert len({run.key for run in plan_sweep(load(stopped), CONTENTS).runs}) == len(plain)


def test_a_price_lists_what_it_leaves_out() -> None:
    plan = plan_sweep(sweep_of(**STOPPING), CONTENTS)
    remarks = price_of(plan, estimate_from(plan.sweep.dataset, []), {}).remarks
    assert "The 24 runs that are still to be suggested are not in this price." in remarks
    assert "Runs are priced at their full length; early stopping will end some before." in remarks
