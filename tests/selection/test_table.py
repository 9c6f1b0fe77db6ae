"""The table: means and errors against numpy, and what it says of all that is absent."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_records import run, view

from gga_sweep.records import RunStatus
from gga_sweep.selection import build_table
from gga_sweep.selection.table import summarize

TWO_DOMAINS = (("art",), ("sketch",))


def three_seeds(accuracies: list[float], **where: object) -> list:
    return [run([0.5], [accuracy], trial_seed=seed, **where) for seed, accuracy in enumerate(accuracies)]


def test_ten_twenty_thirty_percent_are_20_0_and_4_7_as_in_domainbed() -> None:
    (row,) = build_table(view(three_seeds([0.1, 0.2, 0.3]))).rows
    entry = row.entries[0]
    assert (f"{100 * entry.mean:.1f}", f"{100 * entry.standard_error:.1f}") == ("20.0", "4.7")
    assert (entry.n, entry.expected, entry.incomplete) == (3, 3, False)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_the_standard_error_is_that_of_the_population(values: list[float]) -> None:
    entry = summarize(values)
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    assert entry.mean == pytest.approx(mean)
    assert entry.standard_error == pytest.approx(math.sqrt(variance / len(values)), abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=5))
@settings(max_examples=50, deadline=None)
def test_the_average_is_taken_within_each_trial_seed_first(accuracies: list[tuple[float, float]]) -> None:
    records = [
        run([0.5], [accuracy], trial_seed=seed, test_domains=domains)
        for seed, pair in enumerate(accuracies)
        for domains, accuracy in zip(TWO_DOMAINS, pair, strict=True)
    ]
    (row,) = build_table(view(records, test_domains=TWO_DOMAINS, trial_seeds=tuple(range(len(accuracies))))).rows
    by_seed = np.array(accuracies).mean(axis=1)
    assert row.average.values == pytest.approx(tuple(by_seed))
    assert row.average.mean == pytest.approx(by_seed.mean())
    assert row.average.standard_error == pytest.approx(by_seed.std(ddof=0) / np.sqrt(len(by_seed)), abs=1e-9)


def test_the_number_is_the_training_split_accuracy_at_the_selected_step_of_the_selected_draw() -> None:
    records = [run([0.3, 0.9, 0.4], [0.11, 0.22, 0.33], draws=(0,)), run([0.8], [0.99], draws=(1,))]
    table = build_table(view(records, trial_seeds=(0,), draws={"ERM": (0, 1)}))
    assert table.rows[0].entries[0].values == (0.22,)
    assert [(one.draw, one.step) for one in table.selected] == [(0, 10)]


def test_two_test_domains_at_once_count_by_their_unweighted_mean() -> None:
    pair = run([0.5], [0.6], test_domains=("art", "sketch"))
    domains = dict(pair.records[0].test.domains)
    domains["art"] = replace(domains["art"], train=replace(domains["art"].train, accuracy=0.2))
    evaluation = replace(pair.records[0], test=replace(pair.records[0].test, domains=domains))
    pair = replace(pair, records=(evaluation,))
    table = build_table(view([pair], test_domains=(("art", "sketch"),), trial_seeds=(0,)))
    assert table.rows[0].entries[0].mean == pytest.approx(0.4)


def test_one_trial_seed_has_no_standard_error() -> None:
    (row,) = build_table(view([run([0.5], [0.8])], trial_seeds=(0,))).rows
    assert row.entries[0].mean == 0.8
    assert math.isnan(row.entries[0].standard_error)
    assert not row.entries[0].incomplete


def test_a_missing_trial_seed_is_counted_marked_and_named() -> None:
    table = build_table(view(three_seeds([0.1, 0.2])))
    entry = table.rows[0].entries[0]
    assert (entry.n, entry.expected, entry.incomplete) == (2, 3, True)
    assert entry.mean == pytest.approx(0.15)
    (lacking,) = table.incomplete
    assert (lacking.cell.trial_seed, lacking.reasons, lacking.selected) == (2, {"missing": (0,)}, False)


def test_nothing_at_all_is_nan_and_not_zero() -> None:
    table = build_table(view([]))
    entry = table.rows[0].entries[0]
    assert math.isnan(entry.mean)
    assert math.isnan(entry.standard_error)
    assert math.isnan(table.rows[0].average.mean)
    assert (entry.n, len(table.incomplete), table.selected) == (0, 3, ())


def test_an_average_leaves_out_a_trial_seed_that_lacks_a_test_domain_and_says_so() -> None:
    records = three_seeds([0.9, 0.8, 0.7], test_domains=("art",)) + three_seeds([0.5, 0.4], test_domains=("sketch",))
    (row,) = build_table(view(records, test_domains=TWO_DOMAINS)).rows
    assert row.average.values[:2] == pytest.approx((0.7, 0.6))
    assert math.isnan(row.average.values[2])
    assert (row.average.n, row.average.incomplete) == (2, True)
    assert row.average.mean == pytest.approx(0.65)
    assert [entry.incomplete for entry in row.entries] == [False, True]


def test_a_failed_draw_marks_its_cell_though_another_was_selected() -> None:
    records = [*three_seeds([0.1, 0.2, 0.3]), run([0.9], draws=(1,), trial_seed=1, status=RunStatus.FAILED)]
    table = build_table(view(records, draws={"ERM": (0, 1, 2)}))
    entry = table.rows[0].entries[0]
    assert (entry.n, entry.incomplete) == (3, True)
    assert [(cell.cell.trial_seed, dict(cell.reasons), cell.selected) for cell in table.incomplete] == [
        (0, {"missing": (1, 2)}, True),
        (1, {"missing": (2,), "failed": (1,)}, True),
        (2, {"missing": (1, 2)}, True),
    ]


def test_one_run_stands_for_every_draw_that_gave_it() -> None:
    records = [run([0.5], [0.5], draws=(0, 1, 3)), run([0.4], [0.4], draws=(2,))]
    table = build_table(view(records, trial_seeds=(0,), draws={"ERM": (0, 1, 2, 3)}))
    assert table.incomplete == ()


def test_a_cell_of_diverged_runs_is_incomplete_only_when_nothing_could_be_selected() -> None:
    lost = [run([math.nan], status=RunStatus.DIVERGED, draws=(0,)), run([], draws=(1,))]
    (lacking,) = build_table(view(lost, trial_seeds=(0,), draws={"ERM": (0, 1)})).incomplete
    assert lacking.reasons == {"diverged": (0,), "done without a finite validation accuracy": (1,)}
    found = [*lost, run([0.5], draws=(2,))]
    table = build_table(view(found, trial_seeds=(0,), draws={"ERM": (0, 1, 2)}))
    assert table.incomplete == ()
    assert table.rows[0].runs == {RunStatus.DIVERGED: 1, RunStatus.DONE: 2}


def test_diverged_runs_can_be_left_out_of_the_table() -> None:
    records = [run([0.9], [0.9], status=RunStatus.DIVERGED, draws=(0,)), run([0.5], [0.4], draws=(1,))]
    sweep = view(records, trial_seeds=(0,), draws={"ERM": (0, 1)})
    assert build_table(sweep).rows[0].average.mean == 0.9
    without = build_table(sweep, exclude_diverged=True)
    assert (without.rows[0].average.mean, without.exclude_diverged) == (0.4, True)


def test_a_selected_run_without_its_test_accuracy_is_absent_not_zero() -> None:
    table = build_table(view([run([0.5], [math.nan])], trial_seeds=(0,)))
    assert math.isnan(table.rows[0].entries[0].mean)
    (lacking,) = table.incomplete
    assert (lacking.reasons, lacking.selected) == ({"selected, but without a test accuracy": ()}, True)


def test_ties_are_counted_by_row() -> None:
    records = [
        run([0.5, 0.5], draws=(0,), trial_seed=0),
        run([0.5], draws=(1,), trial_seed=0),
        run([0.5, 0.5], draws=(0,), trial_seed=1),
        run([0.4, 0.5], draws=(0,), trial_seed=2),
    ]
    (row,) = build_table(view(records)).rows
    # In trial seed 0 draw 1 wins over draw 0, and has one step only.
    assert (row.tied_steps, row.tied_draws) == (1, 1)


def test_rows_and_columns_keep_the_order_of_the_plan() -> None:
    arms, domains = ("GGA", "ERM"), (("sketch",), ("art",))
    records = [
        run([0.5], [value], arm=arm, test_domains=domain)
        for arm, domain, value in [
            ("ERM", ("art",), 0.1),
            ("ERM", ("sketch",), 0.2),
            ("GGA", ("art",), 0.3),
            ("GGA", ("sketch",), 0.4),
        ]
    ]
    table = build_table(view(records, arms=arms, test_domains=domains, trial_seeds=(0,)))
    assert [(row.arm, *(entry.mean for entry in row.entries)) for row in table.rows] == [
        ("GGA", 0.4, 0.3),
        ("ERM", 0.2, 0.1),
    ]
    assert [(one.cell.arm, one.cell.test_domains) for one in table.selected] == [
        (arm, domain) for arm in arms for domain in domains
    ]


def test_a_searched_arm_lacks_no_draw_but_can_lack_a_cell() -> None:
    records = [run([0.5], [0.5], arm="mine", draws=(90210,), trial_seed=seed) for seed in (0, 1)]
    table = build_table(view(records, arms=("mine",), draws={}, searched=frozenset({"mine"})))
    assert (table.rows[0].searched, table.rows[0].draws, table.rows[0].entries[0].n) == (True, 0, 2)
    assert [dict(cell.reasons) for cell in table.incomplete] == [{"no run": ()}]
