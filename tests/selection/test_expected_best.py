"""The expected best against every subset there is, and against the table where all draws are spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import changed_run
from selection_records import run, view

from gga_sweep.records import RunRecords, RunStatus, ValidationRecord
from gga_sweep.selection import DEFAULT_METHOD, METHODS, SweepView, build_table
from gga_sweep.selection.expected_best import SearchBudget, expected_best, search_budgets, weights

DOMAINS = (("art",), ("cartoon",), ("sketch",))
SEEDS = (0, 1)


def budgets_of(sweep: SweepView, method: str = DEFAULT_METHOD, **switches: object) -> tuple[SearchBudget, ...]:
    return search_budgets(sweep, build_table(sweep, method, **switches))


def by_every_subset(cell: Sequence[tuple[float, float]], k: int) -> float:
    """Of draws 0, 1, ... with (validation, test) the mean test accuracy of the best, over all sets of k."""
    best = [max(draws, key=lambda draw: (cell[draw][0], draw)) for draws in combinations(range(len(cell)), k)]
    return fmean(cell[draw][1] for draw in best)


def sweep_of(cells: dict[tuple[int, tuple[str, ...]], Sequence[tuple[float, float]]], **changes: object) -> SweepView:
    """(trial seed, test domains) -> (validation, test) of each draw."""
    runs = [
        run([validation], [test], test_domains=domains, trial_seed=seed, draws=(draw,))
        for (seed, domains), cell in cells.items()
        for draw, (validation, test) in enumerate(cell)
    ]
    largest = max(map(len, cells.values()))
    sweep = view(runs, test_domains=DOMAINS, trial_seeds=SEEDS, draws={"ERM": tuple(range(largest))})
    return replace(sweep, **changes)


few = st.sampled_from([0.2, 0.4, 0.6])  # so few that ties are common
draws = st.lists(st.tuples(few, st.floats(0, 1)), min_size=2, max_size=6)
sweeps = st.fixed_dictionaries(dict.fromkeys(product(SEEDS, DOMAINS), draws))


@given(draws)
def test_the_expected_best_is_the_mean_over_all_subsets(cell: list[tuple[float, float]]) -> None:
    ascending = [
        test for _, _, test in sorted((validation, draw, test) for draw, (validation, test) in enumerate(cell))
    ]
    for k in range(1, len(cell) + 1):
        assert expected_best(ascending, k) == pytest.approx(by_every_subset(cell, k), abs=1e-12)


@given(sweeps)
@settings(max_examples=25, deadline=None)
def test_budgets_are_means_over_test_domains_then_over_trial_seeds(cells: dict) -> None:
    (budget,) = budgets_of(sweep_of(cells))
    sizes = [len(cell) for cell in cells.values()]
    assert list(budget.draws) == list(range(1, min(sizes) + 1))
    assert budget.largest_cell == max(sizes)
    for k, found in zip(budget.draws, budget.scores, strict=True):
        of_seeds = [fmean(by_every_subset(cells[seed, domains], k) for domains in DOMAINS) for seed in SEEDS]
        assert found.values == pytest.approx(of_seeds, abs=1e-12)
        assert found.mean == pytest.approx(fmean(of_seeds), abs=1e-12)


def test_weights_are_exact_for_two_hundred_draws() -> None:
    for k in (1, 2, 100, 199, 200):
        exact = [Fraction(math.comb(i - 1, k - 1), math.comb(200, k)) for i in range(k, 201)]
        assert sum(exact) == 1
        assert weights(200, k) == tuple(map(float, exact))


def test_one_of_two_hundred_is_the_mean_and_all_of_them_the_best() -> None:
    ascending = [(i * 37 % 200) / 200 for i in range(200)]
    assert expected_best(ascending, 1) == pytest.approx(fmean(ascending), abs=1e-12)
    assert expected_best(ascending, 200) == ascending[-1]


def one_run(domains: tuple[str, ...], seed: int, draw: int) -> RunRecords:
    """Three steps, trained on the other domains; validation accuracies repeat, test accuracies do not."""
    salt = 7 * draw + 3 * seed + sum(map(len, domains))
    validation = [(salt * step % 5) / 5 for step in (1, 2, 3)]
    test = [((salt + 11 * step) * 29 % 97) / 97 for step in (1, 2, 3)]
    made = run(validation, test, test_domains=domains, trial_seed=seed, draws=(draw,))
    trained = [name for (name,) in DOMAINS if name not in domains]
    return changed_run(
        made, records=tuple(replace(one, validation=named(one.validation, trained)) for one in made.records)
    )


def named(record: ValidationRecord, domains: Sequence[str]) -> ValidationRecord:
    (scores,) = record.domains.values()
    return replace(record, domains=dict.fromkeys(domains, scores))


@pytest.fixture(scope="module")
def crossed() -> SweepView:
    """Three domains alone and in pairs, five draws: every method has what it needs."""
    pairs = tuple((*a, *b) for a, b in combinations(DOMAINS, 2))
    of_columns, of_pairs = (
        tuple(one_run(domains, seed, draw) for domains, seed, draw in product(columns, SEEDS, range(5)))
        for columns in (DOMAINS, pairs)
    )
    sweep = view(of_columns, test_domains=DOMAINS, trial_seeds=SEEDS, draws={"ERM": tuple(range(5))})
    return replace(sweep, pairs=pairs, pair_records=of_pairs)


@pytest.mark.parametrize("method", METHODS)
def test_with_all_draws_it_is_the_number_of_the_table(method: str, crossed: SweepView) -> None:
    (row,) = build_table(crossed, method).rows
    (budget,) = budgets_of(crossed, method)
    assert len(budget.draws) == 5
    assert budget.scores[-1].values == pytest.approx(row.average.values, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_with_all_but_one_draw_it_is_the_mean_of_the_tables_without_one(method: str, crossed: SweepView) -> None:
    averages = []
    for left_out in range(5):
        fewer = {
            name: tuple(one for one in getattr(crossed, name) if one.draws != (left_out,))
            for name in ("records", "pair_records")
        }
        (row,) = build_table(replace(crossed, **fewer), method).rows
        averages.append(row.average.mean)
    (budget,) = budgets_of(crossed, method)
    assert budget.scores[3].mean == pytest.approx(fmean(averages), abs=1e-12)


def test_every_method_ranks_in_its_own_way(crossed: SweepView) -> None:
    thirds = {budgets_of(crossed, method)[0].scores[2].mean for method in METHODS}
    assert len(thirds) == len(METHODS)


def test_evaluations_before_the_first_step_take_no_part(crossed: SweepView) -> None:
    after = replace(crossed, after_windows=15)
    (row,) = build_table(after, select_from="after-window").rows
    (budget,) = budgets_of(after, select_from="after-window")
    assert budget.scores[-1].values == pytest.approx(row.average.values, abs=1e-12)
    assert budget.scores != budgets_of(after)[0].scores


CELL = ((0.3, 0.5), (0.2, 0.7), (0.9, 0.4))
PLACES = tuple(product(SEEDS, DOMAINS))


def changed(sweep: SweepView, number: int, **changes: object) -> SweepView:
    records = list(sweep.records)
    records[number] = changed_run(records[number], **changes)
    return replace(sweep, records=tuple(records))


def test_what_cannot_be_selected_is_left_out_and_counted_and_shortens_the_curve() -> None:
    sweep = changed(sweep_of(dict.fromkeys(PLACES, CELL)), 2, status=RunStatus.FAILED)
    (budget,) = budgets_of(sweep)
    assert (list(budget.draws), budget.largest_cell, budget.left_out) == ([1, 2], 3, 1)
    first = fmean([by_every_subset(CELL[:2], 2), by_every_subset(CELL, 2), by_every_subset(CELL, 2)])
    assert budget.scores[1].values == pytest.approx([first, by_every_subset(CELL, 2)])


def test_diverged_runs_take_part_unless_they_are_excluded() -> None:
    sweep = changed(sweep_of(dict.fromkeys(PLACES, CELL)), 2, status=RunStatus.DIVERGED)
    (with_it,), (without,) = budgets_of(sweep), budgets_of(sweep, exclude_diverged=True)
    assert (len(with_it.draws), with_it.left_out) == (3, 0)
    assert (len(without.draws), without.left_out) == (2, 1)


def test_a_trial_seed_without_a_run_to_select_has_no_value_and_shortens_nothing() -> None:
    sweep = sweep_of(dict.fromkeys(PLACES, CELL))
    (budget,) = budgets_of(replace(sweep, records=sweep.records[3:]))
    assert len(budget.draws) == 3
    assert all(math.isnan(one.values[0]) and one.n == 1 for one in budget.scores)


def test_a_missing_test_accuracy_leaves_out_only_the_budgets_that_could_choose_it() -> None:
    sweep = sweep_of(dict.fromkeys(PLACES, CELL))
    worst = sweep.records[1]
    unknown = tuple(replace(one, test=replace(one.test, domains={})) for one in worst.records)
    (budget,) = budgets_of(changed(sweep, 1, records=unknown))
    assert [one.n for one in budget.scores] == [1, 2, 2]


def test_arms_with_one_draw_and_arms_of_a_searcher_have_no_budget() -> None:
    sweep = sweep_of(dict.fromkeys(PLACES, CELL))
    assert budgets_of(replace(sweep, searched=frozenset({"ERM"}))) == ()
    assert budgets_of(sweep_of(dict.fromkeys(PLACES, CELL[:1]))) == ()
    assert budgets_of(replace(sweep, records=())) == ()


def test_a_draw_costs_the_mean_of_the_runs_that_can_be_selected() -> None:
    sweep = sweep_of(dict.fromkeys(PLACES, CELL))
    timed = replace(
        sweep,
        records=tuple(
            changed_run(one, seconds={"training": 10.0 * (1 + i % 3), "evaluation": 1.0})
            for i, one in enumerate(sweep.records)
        ),
    )
    (budget,) = budgets_of(timed)
    assert budget.seconds_a_draw == pytest.approx(21)
    assert math.isnan(budgets_of(sweep)[0].seconds_a_draw)
    untimed = changed(timed, 0, seconds={})
    assert budgets_of(untimed)[0].seconds_a_draw == pytest.approx((18 * 21 - 11) / 17)


def test_pairs_count_into_the_cost_of_a_draw_only_where_they_validate(crossed: SweepView) -> None:
    timed = {
        name: tuple(changed_run(one, seconds={"training": 7.0}) for one in getattr(crossed, name))
        for name in ("records", "pair_records")
    }
    sweep = replace(crossed, **timed)
    assert budgets_of(sweep)[0].seconds_a_draw == pytest.approx(7)
    assert budgets_of(sweep, "leave-one-domain-out")[0].seconds_a_draw == pytest.approx(14)  # as many pairs as domains
