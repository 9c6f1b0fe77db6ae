"""The rules of training-domain validation, one test a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from selection_records import validation_record

from gga_sweep.records import ValidationRecord
from gga_sweep.selection.choice import BestStep
from gga_sweep.selection.methods.training_validation import best_step


def validations(*accuracies: float) -> list[ValidationRecord]:
    """One training domain, at steps 0, 10, 20, ..."""
    return [validation_record(10 * i, [accuracy]) for i, accuracy in enumerate(accuracies)]


def test_the_step_with_the_highest_validation_accuracy_wins() -> None:
    assert best_step(validations(0.2, 0.7, 0.6)) == BestStep(step=10, accuracy=0.7, tied=0)


def test_validation_accuracy_is_the_unweighted_mean_over_training_domains() -> None:
    records = [validation_record(0, [1.0, 0.0, 0.5]), validation_record(10, [0.6, 0.6, 0.6])]
    assert best_step(records) == BestStep(step=10, accuracy=pytest.approx(0.6), tied=0)


@pytest.mark.parametrize("order", [1, -1])
def test_tied_steps_go_to_the_lowest_whatever_their_order(order: int) -> None:
    assert best_step(validations(0.1, 0.7, 0.7, 0.7)[::order]) == BestStep(step=10, accuracy=0.7, tied=2)


@pytest.mark.parametrize("absent", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_accuracy_that_is_not_finite_never_wins(absent: float, place: int) -> None:
    accuracies = [0.3, 0.4]
    accuracies.insert(place, absent)
    best = best_step(validations(*accuracies))
    assert best is not None
    assert best.accuracy == 0.4


def test_one_training_domain_without_accuracy_makes_the_step_lose() -> None:
    records = [validation_record(0, [0.1, 0.1]), validation_record(10, [1.0, math.nan])]
    assert best_step(records) == BestStep(step=0, accuracy=0.1, tied=0)


@pytest.mark.parametrize("accuracies", [[], [math.nan], [math.nan, math.inf]])
def test_a_run_without_a_finite_accuracy_has_no_best_step(accuracies: Sequence[float]) -> None:
    assert best_step(validations(*accuracies)) is None


def test_an_accuracy_of_zero_can_be_the_best() -> None:
    assert best_step(validations(0.0)) == BestStep(step=0, accuracy=0.0, tied=0)
