"""The table: means and errors against numpy, and what it says of all that is absent."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import changed_run
from random_sweeps import RandomSweep, random_sweep, seeds
from selection_by_definition import pick_all
from selection_records import evaluation, run, run_of, view

from gga_sweep.records import Cell, RunRecords, RunStatus
from gga_sweep.selection import METHODS, SweepView, build_table
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


def test_a_selected_run_without_its_test_accuracy_is_absent_not_zero() -> None:
    table = build_table(view([run([0.5], [math.nan])], trial_seeds=(0,)))
    assert math.isnan(table.rows[0].entries[0].mean)
    (lacking,) = table.incomplete
    assert (lacking.reasons, lacking.selected) == ({"selected, but without a test accuracy": ()}, True)


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


@given(seeds, st.booleans(), st.sampled_from(["any", "after-window"]))
@settings(max_examples=80, deadline=None)
def test_by_every_method_the_numbers_are_read_where_its_definition_points(
    seed: int, exclude_diverged: bool, select_from: str
) -> None:
    sweep = random_sweep(seed, not_finite=[math.nan] * 4)
    first_step = 15 if select_from == "after-window" else 0
    for method in METHODS:
        table = build_table(sweep.view, method, exclude_diverged=exclude_diverged, select_from=select_from)
        picks = pick_all(method, sweep, exclude_diverged=exclude_diverged, first_step=first_step)
        assert (table.select_from, table.first_step) == (select_from, first_step)
        for row in table.rows:
            expected = [
                [reported(sweep, picks, row.arm, column, s) for s in sweep.trial_seeds] for column in sweep.columns
            ]
            found = [entry.values for entry in row.entries]
            np.testing.assert_array_equal(np.array(found), np.array(expected))
            np.testing.assert_allclose(row.average.values, np.mean(expected, axis=0))
            mine = [pick for cell, pick in picks.items() if cell.arm == row.arm]
            assert row.tied_steps == sum(pick.other_steps > 0 for pick in mine)
            assert row.tied_draws == sum(pick.other_runs > 0 for pick in mine)


def reported(sweep: RandomSweep, picks: dict, arm: str, column: tuple[str, ...], trial_seed: int) -> float:
    """The mean over the test domains of the training split's accuracy, at the picked step of the picked run."""
    cell = Cell("PACS", arm, column, trial_seed)
    for one in sweep.records:
        if one.cell == cell and cell in picks and one.key == picks[cell].key:
            (record,) = [record for record in one.records if record.step == picks[cell].step]
            return sum(record.test.domains[name].train.accuracy for name in column) / len(column)
    return math.nan


def test_a_run_that_ended_before_the_window_did_cannot_be_selected_after_it() -> None:
    sweep = view([run([0.9], status=RunStatus.STOPPED)], trial_seeds=(0,), after_windows=10)
    assert build_table(sweep).incomplete == ()
    (lacking,) = build_table(sweep, select_from="after-window").incomplete
    assert lacking.reasons == {"stopped without a finite validation accuracy": (0,)}


TRAINED = ("photo", "sketch")
PAIRS = (("art", "photo"), ("art", "sketch"))


def crossed(*pairs: RunRecords, draws: tuple[int, ...] = (0, 1), **where: object) -> SweepView:
    """Runs tested on art, trained on photo and sketch, with these pair runs."""
    judged = [evaluation(0, dict.fromkeys(TRAINED, 0.5), {"art": (0.25, 0.25)})]
    runs = [run_of(judged, test_domains=("art",), draws=(draw,), **where) for draw in draws]
    return view(
        runs,
        test_domains=(("art",),),
        trial_seeds=(0,),
        draws={"ERM": draws},
        pairs=PAIRS,
        pair_records=pairs,
    )


def pair(left_out: str, draw: int, **where: object) -> RunRecords:
    (other,) = set(TRAINED) - {left_out}
    records = [evaluation(0, {other: 0.5}, {"art": 0.5, left_out: 0.5})]
    return run_of(records, test_domains=("art", left_out), draws=(draw,), **where)


def test_a_cross_validated_cell_names_each_pair_run_that_lacks_by_draw() -> None:
    sweep = crossed(
        pair("photo", 0),
        pair("photo", 1),
        pair("photo", 2, status=RunStatus.OUT_OF_MEMORY),
        pair("photo", 3),
        pair("sketch", 0),
        pair("sketch", 2, status=RunStatus.FAILED),
        draws=(0, 1, 2, 3),
    )
    (lacking,) = build_table(sweep, "leave-one-domain-out").incomplete
    assert lacking.selected
    assert lacking.reasons == {
        "art+sketch missing": (1, 3),
        "art+photo out of memory": (2,),
        "art+sketch failed": (2,),
    }
    for method in set(METHODS) - {"leave-one-domain-out"}:
        assert build_table(sweep, method).incomplete == ()


def test_a_cross_validated_cell_with_all_its_pair_runs_is_complete() -> None:
    pairs = [pair(name, draw, status=RunStatus.STOPPED) for name in TRAINED for draw in (0, 1)]
    table = build_table(crossed(*pairs), "leave-one-domain-out")
    assert (table.incomplete, table.rows[0].entries[0].incomplete) == ((), False)


def test_a_run_of_several_draws_names_its_lacking_pair_run_by_all_of_them() -> None:
    merged = crossed(pair("photo", 1), draws=(0, 1))
    runs = (changed_run(merged.records[0], draws=(0, 1)),)
    (lacking,) = build_table(replace(merged, records=runs), "leave-one-domain-out").incomplete
    assert lacking.reasons["art+sketch missing"] == (0, 1)
    assert "art+photo missing" not in lacking.reasons


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_pair_runs_that_lack_are_found_by_looking_for_each(seed: int) -> None:
    sweep = random_sweep(seed)
    everyone = (*sweep.records, *sweep.pair_records)
    expected: dict[tuple[Cell, frozenset[str], str], set[int]] = {}
    for one in sweep.records:
        if len(one.cell.test_domains) > 1:
            continue
        for domain in one.records[0].validation.domains if one.records else ():
            names = {*one.cell.test_domains, domain}
            fates = [
                other.status.value
                for other in everyone
                if set(other.cell.test_domains) == names
                and (other.cell.arm, other.cell.trial_seed) == (one.cell.arm, one.cell.trial_seed)
                and one.draws[-1] in other.draws
            ]
            if not fates or fates[0] not in ("DONE", "DIVERGED", "STOPPED"):
                fate = fates[0].lower().replace("_", " ") if fates else "missing"
                expected.setdefault((one.cell, frozenset(names), fate), set()).update(one.draws)
    found = {
        (cell.cell, frozenset(names.split("+")), fate): set(draws)
        for cell in build_table(sweep.view, "leave-one-domain-out").incomplete
        for reason, draws in cell.reasons.items()
        for names, _, fate in [reason.partition(" ")]
        if "+" in names and len(cell.cell.test_domains) == 1
    }
    assert found == expected


WITHOUT = {
    "training-domain-validation": "done without a finite validation accuracy",
    "leave-one-domain-out": "done without a finite accuracy on every training domain left out",
    "oracle": "done without a finite accuracy on the test domain's validation split at its last step",
    "shared-draw": "done without a draw that can be selected on every test domain",
}


@pytest.mark.parametrize("method", METHODS)
def test_where_nothing_can_be_selected_each_method_says_what_is_lacking(method: str) -> None:
    runs = [run_of([evaluation(0, dict.fromkeys(TRAINED, math.nan), {"art": 0.25})], test_domains=("art",))]
    (lacking,) = build_table(view(runs, test_domains=(("art",),), trial_seeds=(0,)), method).incomplete
    assert lacking.reasons[WITHOUT[method]] == (0,)
    assert not lacking.selected


def test_a_draw_that_another_cell_lacks_is_named_as_not_shared() -> None:
    domains = (("art",), ("photo",), ("sketch",))
    runs = [
        run([0.5], test_domains=domain, draws=(draw,), status=status)
        for domain in domains
        for draw, status in [(0, RunStatus.DONE), (1, RunStatus.FAILED if domain == ("photo",) else RunStatus.DONE)]
        if (domain, draw) != (("sketch",), 1)
    ]
    sweep = view(runs, test_domains=domains, trial_seeds=(0,), draws={"ERM": (0, 1)})
    table = build_table(sweep, "shared-draw")
    assert {one.cell.test_domains: dict(one.reasons) for one in table.incomplete} == {
        ("art",): {"photo failed": (1,), "sketch missing": (1,)},
        ("photo",): {"failed": (1,)},
        ("sketch",): {"missing": (1,)},
    }
    assert [entry.incomplete for entry in table.rows[0].entries] == [True, True, True]
    assert [one.cell.test_domains for one in build_table(sweep).incomplete] == [("photo",), ("sketch",)]
