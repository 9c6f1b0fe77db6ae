"""The evaluations that could be selected, against the choice made afterwards from all of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gga_sweep.records import DomainScores, Score, ValidationRecord
from gga_sweep.selection.choice import highest_step
from gga_sweep.training.candidate_steps import CandidateSteps

accuracies = st.lists(st.sampled_from([0.25, 0.5, 0.75, 1.0, math.nan, math.inf]), min_size=1, max_size=12)


def evaluation(step: int, accuracy: float, macro_f1: float | None = None) -> ValidationRecord:
    score = Score(accuracy, 1.0, macro_f1=macro_f1)
    return ValidationRecord(step, {"a": DomainScores(None, score)}, 0.0, None, None)


@given(accuracies=accuracies, first_step=st.integers(0, 40))
def test_found_is_what_selection_would_choose_if_training_ended_there(accuracies: list[float], first_step: int) -> None:
    candidates, points = CandidateSteps("accuracy", first_step), []
    for step, accuracy in zip(range(0, 1000, 4), accuracies, strict=False):
        found = candidates.add(evaluation(step, accuracy))
        points.append((step, accuracy))
        chosen = [highest_step(point for point in points if point[0] >= first) for first in (0, first_step)]
        assert found == (step in [best.step for best in chosen if best is not None])


@given(accuracies=accuracies, first_step=st.integers(0, 40), stop=st.integers(0, 12))
def test_a_state_goes_on_as_if_never_stopped(accuracies: list[float], first_step: int, stop: int) -> None:
    whole, stopped, resumed = (CandidateSteps("accuracy", first_step) for _ in range(3))
    evaluations = [evaluation(4 * index, accuracy) for index, accuracy in enumerate(accuracies)]
    found = [stopped.add(each) for each in evaluations[:stop]]
    resumed.load_state(stopped.state())
    assert found + [resumed.add(each) for each in evaluations[stop:]] == [whole.add(each) for each in evaluations]


def test_another_metric_decides_and_an_undefined_value_is_no_candidate() -> None:
    evaluations = [evaluation(0, 0.5), evaluation(1, 0.25, 0.5), evaluation(2, 0.75, 0.25), evaluation(3, 0.5, 0.75)]
    by_accuracy, by_macro_f1 = CandidateSteps("accuracy"), CandidateSteps("macro_f1")
    assert [by_accuracy.add(each) for each in evaluations] == [True, False, True, False]
    assert [by_macro_f1.add(each) for each in evaluations] == [False, True, False, True]
