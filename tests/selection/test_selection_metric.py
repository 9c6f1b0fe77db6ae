"""Selection, tables and comparisons by another metric than accuracy."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from made_runs import measured_by
from random_sweeps import random_sweep
from selection_records import evaluation, run, run_of, view

from gga_sweep.metrics import SELECTING
from gga_sweep.records import Cell, DomainScores, Record, RunRecords, Score, TestRecord, ValidationRecord
from gga_sweep.selection import METHODS, build_table, compare, select
from gga_sweep.selection.tested import score_on_test_domains

OTHERS = [metric for metric in SELECTING if metric != "accuracy"]


@pytest.mark.parametrize("metric", OTHERS)
@pytest.mark.parametrize("method", METHODS)
def test_the_same_values_under_another_metric_give_the_same_choices_and_numbers(method: str, metric: str) -> None:
    for seed in range(12):
        by_accuracy = random_sweep(seed, not_finite=(math.nan, math.nan)).view
        baselines = dict.fromkeys(by_accuracy.arms[1:], by_accuracy.arms[0])
        by_accuracy = replace(by_accuracy, baselines=baselines)
        expected, found = (build_table(one, method) for one in (by_accuracy, measured_by(by_accuracy, metric)))
        assert found.selected == expected.selected
        assert repr(found.rows) == repr(expected.rows)  # NaN included
        assert [one.cell for one in found.incomplete] == [one.cell for one in expected.incomplete]
        assert found.metric == metric
        one, other = compare(by_accuracy, expected), compare(measured_by(by_accuracy, metric), found)
        assert repr([each.difference for each in other.selected]) == repr([each.difference for each in one.selected])
        assert repr([each.difference for each in other.matched]) == repr([each.difference for each in one.matched])
        assert repr([each.scores for each in other.budget]) == repr([each.scores for each in one.budget])


def scored(step: int, accuracy: float, macro_f1: float | None) -> Record:
    of_both = DomainScores(Score(accuracy, 1.0), Score(accuracy, 1.0, macro_f1=macro_f1))
    tested = DomainScores(Score(accuracy, 1.0, macro_f1=macro_f1), Score(accuracy, 1.0))
    return Record(
        ValidationRecord(step, {"photo": of_both}, 1.0, None, None), TestRecord({"sketch": tested}, {"sketch": 0.0})
    )


def test_step_and_draw_follow_the_metric() -> None:
    first = run_of([scored(0, 0.9, 0.2), scored(10, 0.3, 0.6)], draws=(0,))
    second = run_of([scored(0, 0.4, 0.7), scored(10, 0.8, 0.1)], draws=(1,))
    assert [(one.draw, one.step, one.score) for one in select([first, second])] == [(0, 0, 0.9)]
    assert [(one.draw, one.step, one.score) for one in select([first, second], metric="macro_f1")] == [(1, 0, 0.7)]


def test_an_undefined_value_is_never_selected_and_never_zero() -> None:
    some = run_of([scored(0, 0.9, None), scored(10, 0.3, 0.0)], draws=(0,))
    none = run_of([scored(0, 0.9, None)], draws=(1,))
    (found,) = select([some, none], metric="macro_f1")
    assert (found.draw, found.step, found.score) == (0, 10, 0.0)
    sweep = replace(view([none], trial_seeds=(0,), draws={"ERM": (1,)}), metric="macro_f1")
    (lacking,) = build_table(sweep).incomplete
    assert lacking.reasons == {"done without a finite validation macro F1": (1,)}


def test_a_mean_over_domains_is_undefined_if_one_has_no_value() -> None:
    one, other = DomainScores(Score(0.5, 1.0), Score(0.5, 1.0, auroc=0.75)), DomainScores(None, Score(0.5, 1.0))
    record = ValidationRecord(0, {"a": one, "b": one}, 0.0, None, None)
    assert record.validation_mean("auroc") == 0.75
    assert math.isnan(replace(record, domains={"a": one, "b": other}).validation_mean("auroc"))
    assert record.training_mean("auroc") is None
    test = Record(record, TestRecord({"c": one, "d": other}, {}))
    cell = Cell("PACS", "ERM", ("c", "d"), 0)
    assert math.isnan(score_on_test_domains(test, cell, "auroc", "validation"))
    assert score_on_test_domains(test, replace(cell, test_domains=("c",)), "auroc", "validation") == 0.75


def test_a_selected_run_without_a_test_score_is_named() -> None:
    tested = DomainScores(Score(0.5, 1.0), Score(0.5, 1.0))
    record = scored(0, 0.5, 0.5)
    blind = run_of([replace(record, test=TestRecord({"sketch": tested}, {"sketch": 0.0}))])
    table = build_table(replace(view([blind], trial_seeds=(0,)), metric="macro_f1"))
    (lacking,) = table.incomplete
    assert lacking.reasons == {"selected, but without a test macro F1": ()}
    assert math.isnan(table.rows[0].average.mean)


def test_titles_and_rules_name_the_metric() -> None:
    table = build_table(replace(view([]), metric="balanced_accuracy"), "oracle")
    assert table.title.startswith("small: balanced accuracy (%) by test domain of PACS")
    assert "the highest balanced accuracy on the test domain" in table.method_rule
    assert all("{metric}" in method.rule for method in METHODS.values())


def per_seed(values: dict[tuple[str, int], float]) -> list[RunRecords]:
    return [run([0.5], [value], test_domains=(name,), trial_seed=seed) for (name, seed), value in values.items()]


def test_the_worst_test_domain_is_taken_within_each_trial_seed_first() -> None:
    records = per_seed({("art", 0): 0.9, ("sketch", 0): 0.4, ("art", 1): 0.6, ("sketch", 1): 0.7, ("art", 2): 0.1})
    (row,) = build_table(view(records, test_domains=(("art",), ("sketch",)))).rows
    assert row.worst.values[:2] == (0.4, 0.6)
    assert math.isnan(row.worst.values[2])  # whatever the missing domain would have had
    assert row.worst.mean == pytest.approx(0.5)
    assert row.worst.standard_error == pytest.approx(0.1 / math.sqrt(2))
    assert (row.worst.n, row.worst.expected, row.worst.incomplete) == (2, 3, True)


def test_of_one_test_domain_the_worst_is_that_one() -> None:
    (row,) = build_table(view([run([0.5], [0.8])], trial_seeds=(0,))).rows
    assert row.worst == row.average


def test_evaluations_that_lack_the_metric_leave_the_leave_one_out_step_out() -> None:
    single = run_of([evaluation(0, {"photo": 0.5}, {"sketch": 0.5})])
    pair = run_of([scored(0, 0.5, None)], test_domains=("sketch", "photo"))
    pair = run_of(
        [
            replace(one, test=TestRecord(dict.fromkeys(("sketch", "photo"), one.test.domains["sketch"]), {}))
            for one in pair.records
        ],
        test_domains=("sketch", "photo"),
    )
    assert select([single], "leave-one-domain-out", metric="macro_f1", pair_records=[pair]) == ()
    assert len(select([single], "leave-one-domain-out", pair_records=[pair])) == 1
