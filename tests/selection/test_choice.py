"""The rules for ties and NaN, against a sort."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.selection.choice import BestStep, Choice, Contender, highest_run, highest_step

ACCURACIES = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan, math.inf, -math.inf])
POINTS = st.lists(st.tuples(st.integers(0, 50), ACCURACIES), max_size=8, unique_by=lambda point: point[0])
CONTENDERS = st.lists(
    st.builds(
        Contender,
        key=st.sampled_from("abc"),
        draw=st.integers(0, 20),
        best=st.builds(BestStep, step=st.integers(0, 9), score=st.sampled_from([0.0, 0.5, 1.0]), tied=st.just(0)),
        judged=st.sampled_from([0.0, 0.5, 1.0]),
    ),
    max_size=8,
    unique_by=lambda run: run.draw,
)


@given(POINTS)
@settings(max_examples=120, deadline=None)
def test_the_highest_step_is_the_first_of_a_sort_by_accuracy_then_step(points: list[tuple[int, float]]) -> None:
    ranking = sorted((-accuracy, step) for step, accuracy in points if math.isfinite(accuracy))
    if not ranking:
        assert highest_step(points) is None
        return
    as_good = [one for one in ranking if one[0] == ranking[0][0]]
    assert highest_step(points) == BestStep(ranking[0][1], -ranking[0][0], len(as_good) - 1)


@given(CONTENDERS)
@settings(max_examples=120, deadline=None)
def test_the_highest_run_is_the_last_of_a_sort_by_accuracy_then_draw(runs: list[Contender]) -> None:
    ranking = sorted(runs, key=lambda run: (run.judged, run.draw))
    if not ranking:
        assert highest_run(runs) is None
        return
    last = ranking[-1]
    as_good = [run for run in ranking if run.judged == last.judged]
    assert highest_run(runs) == Choice(last.key, last.draw, last.best, len(as_good) - 1)


@given(POINTS, CONTENDERS, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_what_is_compared_decides_nothing(
    points: list[tuple[int, float]], runs: list[Contender], random: Random
) -> None:
    steps, contenders = list(points), list(runs)
    random.shuffle(steps)
    random.shuffle(contenders)
    assert highest_step(steps) == highest_step(points)
    assert highest_run(contenders) == highest_run(runs)


def test_of_two_runs_with_one_draw_number_the_key_decides_and_not_their_order() -> None:
    runs = [Contender(key, 3, BestStep(step, 0.5, 0), judged=0.5) for step, key in enumerate("ab")]
    assert highest_run(runs) == highest_run(runs[::-1]) == Choice("b", 3, runs[1].best, tied_draws=1)


def test_a_later_step_only_wins_with_a_higher_accuracy() -> None:
    assert highest_step([(7, 0.5), (3, 0.5), (9, 0.5)]) == BestStep(step=3, score=0.5, tied=2)
    assert highest_step([(7, 0.5), (3, 0.5), (9, 0.6)]) == BestStep(step=9, score=0.6, tied=0)


@pytest.mark.parametrize("accuracy", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_neither_wins_nor_ties(accuracy: float) -> None:
    assert highest_step([(0, accuracy), (1, 0.0)]) == BestStep(step=1, score=0.0, tied=0)
    assert highest_step([(0, accuracy)]) is None
