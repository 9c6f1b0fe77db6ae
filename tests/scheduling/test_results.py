"""Searchers receive validation of the training domains, up to where runs can be compared."""

from __future__ import annotations

import math

from gga_sweep.records import Agreement, DomainScores, Score, ValidationRecord
from gga_sweep.scheduling import Curve, Result, pooled, result_of, score_at
from gga_sweep.scheduling.next_runs import EndedEarly

NO_AGREEMENT = Agreement(((1.0,),), (1.0,), math.nan, math.nan)


def validations(*accuracies: float) -> list[ValidationRecord]:
    """Evaluated at steps 0, 10, 20, ..."""
    return [
        ValidationRecord(
            10 * position,
            {"a": DomainScores(Score(0.0, 1.0), Score(accuracy, 1.0))},
            1.0,
            NO_AGREEMENT,
            NO_AGREEMENT,
        )
        for position, accuracy in enumerate(accuracies)
    ]


def test_a_run_scores_its_best_step_and_several_runs_their_mean() -> None:
    one, another = Curve(validations(0.2, 0.8, 0.6)), Curve(validations(0.1, 0.3, 0.4))
    assert result_of({"lr": 1.0}, [one], "accuracy") == Result({"lr": 1.0}, 0.8)
    assert math.isclose(result_of({}, [one, another], "accuracy").score, 0.6)


def test_runs_are_judged_up_to_where_the_first_of_them_was_ended() -> None:
    whole, ended = Curve(validations(0.2, 0.5, 0.9)), Curve(validations(0.1, 0.3), stopped=True)
    result = result_of({}, [whole, ended], "accuracy")
    assert math.isclose(result.score, 0.4)
    assert result.stopped_at == 10


def test_what_is_not_finite_never_wins_and_a_run_without_a_number_scores_zero() -> None:
    assert score_at(validations(0.3, math.nan, 0.2), "accuracy") == 0.3
    assert score_at(validations(math.nan), "accuracy") == 0.0
    assert score_at([], "accuracy") == 0.0
    assert score_at(validations(0.3, 0.5), "accuracy", step=5) == 0.3
    assert result_of({}, [Curve([], stopped=True)], "accuracy") == Result({}, 0.0, -1)


def test_a_run_is_judged_by_the_sweeps_metric() -> None:
    best_by_accuracy, best_by_auroc = (
        ValidationRecord(step, {"a": DomainScores(None, Score(accuracy, 1.0, auroc=auroc))}, 1.0, None, None)
        for step, accuracy, auroc in ((0, 0.9, None), (10, 0.25, 0.75))
    )
    curve = [best_by_accuracy, best_by_auroc]
    assert (score_at(curve, "accuracy"), score_at(curve, "auroc")) == (0.9, 0.75)
    assert result_of({}, [Curve(curve)], "auroc").score == 0.75


def test_a_run_behind_its_cell_by_the_sweeps_metric_is_ended_for_that() -> None:
    record = ValidationRecord(9, {"a": DomainScores(None, Score(0.9, 1.0, macro_f1=0.25))}, 1.0, None, None)
    assert EndedEarly({9: 0.5}, 0, "accuracy")([record]) is None
    reason = EndedEarly({9: 0.5}, 0, "macro_f1")([record])
    assert reason == "behind its cell at step 9: validation macro F1 0.2500, 0.5000 was needed"


def test_in_a_pool_each_counts_with_its_rank_in_its_own_cell() -> None:
    easy = [Result({"draw": draw}, score) for draw, score in enumerate((0.9, 0.95, 0.92))]
    hard = [Result({"draw": draw}, score) for draw, score in enumerate((0.1, 0.1, 0.4))]
    told = list(pooled([easy, hard]))
    assert [result.values["draw"] for result in told] == [0, 0, 1, 1, 2, 2]
    assert [result.score for result in told] == [0.0, 0.25, 1.0, 0.25, 0.5, 1.0]


def test_in_a_pool_a_run_ended_early_is_beaten_by_all_that_were_not() -> None:
    cell = [Result({}, 0.9, 100), Result({}, 0.8, 300), Result({}, 0.1), Result({}, 0.95, 100)]
    assert [result.score for result in pooled([cell])] == [0.0, 2 / 3, 1.0, 1 / 3]
    assert all(result.stopped_at is None for result in pooled([cell]))
    assert [result.score for result in pooled([[Result({}, 0.2)]])] == [0.5]
