"""The rules of the search under scripted scores: positions, gates, references and objectives."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy_model import fixed_choice

from gga_sweep.annealing import GGA, Score, SearchOutcome
from gga_sweep.annealing.proposals import Displacement, MovableWeights
from gga_sweep.annealing.search import backtrack, climb

THETA = 0.3
NOISES = [0.1, 0.02, 0.003, 0.0004, 0.00005, 0.000006]

FAIR = st.floats(-1, 1).map(lambda value: round(value, 2))
SCORES = st.lists(st.builds(Score, FAIR, FAIR), min_size=2, max_size=8)


def _settings(**changes: object) -> GGA:
    return GGA.of_variant("paper", **{"start_step": 0, "num_steps": 1, "radius": 0.1, "num_candidates": 1, **changes})


def _run(scores: list[Score], choice_seed: int = 0, **changes: object) -> tuple[SearchOutcome, list[float], float]:
    """The outcome under scripted scores (the first is the start's), the weight at each candidate and in the end."""
    weight = torch.tensor([THETA], dtype=torch.float64)
    noises = [*NOISES, *[1e-7] * len(scores)]
    visited: list[float] = []

    def measure(candidate: int) -> Tensor:
        visited.append(float(weight))
        return torch.tensor(scores[candidate + 1], dtype=torch.float64)

    weights = MovableWeights([weight], lambda index: _along(noises[index]))
    how = _settings(num_candidates=max(1, len(scores) - 1), **changes)
    outcome = climb(scores[0], measure, weights, fixed_choice(choice_seed), how)
    return outcome, visited, float(weight)


def _along(move: float) -> Displacement:
    return Displacement([torch.ones(1, dtype=torch.float64)], move)


def _with_alignments(*alignments: float) -> list[Score]:
    return [Score(alignment, 1.0) for alignment in alignments]


REJECT_ACCEPT_ACCEPT_REJECT = _with_alignments(0.0, -0.5, 0.1, 0.2, 0.15)


@pytest.mark.parametrize(
    ("origin", "positions", "end"),
    [
        ("start", [(0,), (1,), (2,), (3,)], (2,)),
        ("current", [(0,), (0, 1), (2,), (3,)], (2,)),
        ("accepted", [(0,), (1,), (1, 2), (1, 2, 3)], (1, 2)),
    ],
)
def test_scripted_scores_put_each_origin_at_its_known_position(
    origin: str, positions: list[tuple[int, ...]], end: tuple[int, ...]
) -> None:
    outcome, visited, left_at = _run(REJECT_ACCEPT_ACCEPT_REJECT, origin=origin)

    def position(path: tuple[int, ...]) -> float:
        return sum((NOISES[index] for index in path), start=THETA)

    assert visited == [*map(position, positions)]
    assert left_at == position(end)
    assert [candidate.path for candidate in outcome.candidates] == positions
    assert [candidate.accepted for candidate in outcome.candidates] == [False, True, True, False]
    assert (outcome.tried, outcome.accepted, outcome.chosen) == (4, 2, 2)
    assert (outcome.before, outcome.after) == (REJECT_ACCEPT_ACCEPT_REJECT[0], REJECT_ACCEPT_ACCEPT_REJECT[3])
    assert outcome.distance == pytest.approx(sum(NOISES[index] for index in end), rel=1e-12)


def test_a_walk_after_k_rejections_stands_at_the_sum_of_the_noises() -> None:
    outcome, visited, left_at = _run(_with_alignments(0.0, *[-0.1] * 6), origin="current")
    assert visited == list(itertools.accumulate([THETA, *NOISES]))[1:]
    assert left_at == THETA
    assert (outcome.accepted, outcome.chosen, outcome.distance, outcome.after) == (0, None, 0.0, outcome.before)


def test_an_equal_alignment_is_not_better() -> None:
    outcome, _, left_at = _run(_with_alignments(0.25, 0.25))
    assert outcome.candidates[0].passed
    assert (outcome.accepted, left_at) == (0, THETA)


@pytest.mark.parametrize(("rise", "passes"), [(0.124, True), (0.125, False), (0.126, False), (-5.0, True)])
def test_the_loss_may_rise_by_less_than_the_tolerance(rise: float, passes: bool) -> None:
    outcome, _, _ = _run([Score(0.0, 1.0), Score(0.5, 1.0 + rise)], loss_tolerance=0.125)
    assert (outcome.candidates[0].passed, outcome.accepted) == (passes, int(passes))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize(("rise", "passes"), [(0.24, True), (0.25, False), (0.26, False), (-5.0, True)])
def test_a_relative_tolerance_is_a_fraction_of_the_reference(scale: float, rise: float, passes: bool) -> None:
    scores = [Score(0.0, scale), Score(0.5, scale * (1 + rise))]
    outcome, _, _ = _run(scores, loss_tolerance=0.25, loss_gate="relative")
    assert (outcome.candidates[0].passed, outcome.accepted) == (passes, int(passes))


def test_a_relative_tolerance_follows_the_reference() -> None:
    scores = [Score(0.0, 1.0), Score(0.1, 1.4), Score(0.2, 2.0)]
    assert _run(scores, loss_tolerance=0.5, loss_gate="relative")[0].accepted == 1
    assert _run(scores, loss_tolerance=0.5, loss_gate="relative", loss_reference="accepted")[0].accepted == 2


@pytest.mark.parametrize(("tolerance", "accepted"), [(math.inf, 1), (-math.inf, 0)])
@pytest.mark.parametrize("loss", [0.0, 1.0])
def test_an_infinite_tolerance_is_the_same_in_both_gates(tolerance: float, accepted: int, loss: float) -> None:
    outcome, _, _ = _run([Score(0.0, loss), Score(0.5, 9.0)], loss_tolerance=tolerance, loss_gate="relative")
    assert outcome.accepted == accepted


def test_the_loss_reference_ratchets_up_only_with_accepted() -> None:
    scores = [Score(0.0, 1.0), Score(0.1, 1.05), Score(0.2, 1.12), Score(0.3, 1.19)]
    assert _run(scores, loss_reference="start")[0].accepted == 1
    assert _run(scores, loss_reference="accepted")[0].accepted == 3


def test_a_tolerance_of_minus_infinity_rejects_all() -> None:
    scores = [Score(0.0, 1.0), Score(0.9, -5.0), Score(1.0, -math.inf)]
    for objective in ("alignment", "none", "anti", "loss"):
        outcome, _, left_at = _run(scores, loss_tolerance=-math.inf, objective=objective)
        assert (outcome.tried, outcome.accepted, outcome.chosen, left_at) == (2, 0, None, THETA)


@pytest.mark.parametrize("objective", ["alignment", "none", "anti", "loss"])
@pytest.mark.parametrize("bad", [Score(math.nan, 0.1), Score(0.9, math.nan), Score(-0.9, math.nan)])
def test_nan_is_never_accepted_nor_chosen(objective: str, bad: Score) -> None:
    outcome, _, _ = _run([Score(0.0, 1.0), bad, bad], objective=objective, loss_tolerance=math.inf)
    assert [(candidate.passed, candidate.accepted) for candidate in outcome.candidates] == [(False, False)] * 2
    assert outcome.chosen is None


@given(SCORES)
@settings(max_examples=60, deadline=None)
def test_each_objective_finds_what_brute_force_finds(scores: list[Score]) -> None:
    start, *found = scores
    passed = [index for index, score in enumerate(found) if score.loss - start.loss < 0.1]
    badness = {
        "alignment": lambda score: -score.alignment,
        "anti": lambda score: score.alignment,
        "loss": lambda score: score.loss,
    }
    for objective, bad in badness.items():
        best = min(passed, key=lambda index: bad(found[index]), default=None)
        if best is not None and not bad(found[best]) < bad(start):
            best = None
        assert _run(scores, objective=objective)[0].chosen == best


@given(SCORES, st.sampled_from(["start", "current", "accepted"]), st.sampled_from(["start", "accepted"]))
@settings(max_examples=60, deadline=None)
def test_none_scores_what_alignment_scores_and_moves_where_it_moves(
    scores: list[Score], origin: str, reference: str
) -> None:
    aligned, aligned_visits, _ = _run(scores, origin=origin, loss_reference=reference)
    none, none_visits, left_at = _run(scores, origin=origin, loss_reference=reference, objective="none")
    assert none_visits == aligned_visits
    assert none.candidates == aligned.candidates
    assert (none.chosen is None) == (aligned.chosen is None)
    if none.chosen is not None:
        assert none.candidates[none.chosen].passed
        assert left_at == none_visits[none.chosen]


def test_none_chooses_uniformly_among_those_that_passed_the_gate() -> None:
    scores = [Score(0.0, 1.0), Score(-0.2, 1.0), Score(0.3, 9.0), Score(0.1, 1.0), Score(-0.4, 0.9), Score(0.0, 1.05)]
    chosen = [_run(scores, choice_seed=seed, objective="none")[0].chosen for seed in range(2000)]
    counts = {candidate: chosen.count(candidate) for candidate in set(chosen)}
    assert sorted(counts) == [0, 2, 3, 4]
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 16.3  # chi-squared, 3 degrees, p = 0.001


@pytest.mark.parametrize("objective", ["alignment", "anti", "loss"])
def test_only_none_consumes_the_choice_stream(objective: str) -> None:
    def no_generator() -> torch.Generator:
        raise AssertionError("the choice stream was used")

    weights = MovableWeights([torch.zeros(1, dtype=torch.float64)], lambda _: _along(1.0))
    measured = torch.tensor([0.5, 0.5], dtype=torch.float64)
    outcome = climb(Score(0.0, 1.0), lambda _: measured, weights, no_generator, _settings(objective=objective))
    assert outcome.tried == 1


def test_an_outcome_cannot_be_changed() -> None:
    outcome, _, _ = _run(REJECT_ACCEPT_ACCEPT_REJECT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.chosen = 0  # type: ignore[misc]


def _backtrack(scores: list[Score], **changes: object) -> tuple[SearchOutcome, list[float], float]:
    """As `_run`, along a gradient: the step of index k is the radius over 2^k, that of the control the negative."""
    weight = torch.tensor([THETA], dtype=torch.float64)
    how = _settings(**{"num_candidates": 4, "direction": "gradient", **changes})
    visited: list[float] = []

    def measure(_: int) -> Tensor:
        visited.append(float(weight))
        return torch.tensor(scores[len(visited)], dtype=torch.float64)

    def step(index: int) -> Displacement:
        return _along(0.5**index) if index < how.num_candidates else _along(-(0.5 ** (index - how.num_candidates)))

    outcome = backtrack(scores[0], measure, MovableWeights([weight], step), how)
    return outcome, visited, float(weight)


def test_along_the_gradient_the_step_is_halved_until_one_is_accepted() -> None:
    worse_worse_better = _with_alignments(0.0, -0.1, -0.2, 0.1, 0.9)
    outcome, visited, left_at = _backtrack(worse_worse_better)
    assert visited == [THETA + 1, THETA + 0.5, THETA + 0.25]
    assert left_at == THETA + 0.25
    assert [candidate.path for candidate in outcome.candidates] == [(0,), (1,), (2,)]
    assert (outcome.tried, outcome.accepted, outcome.chosen) == (3, 1, 2)
    assert outcome.distance == pytest.approx(0.25)


def test_along_the_gradient_the_loss_gate_halves_too() -> None:
    outcome, _, left_at = _backtrack([Score(0.0, 1.0), Score(0.9, 1.2), Score(0.5, 1.05)], loss_tolerance=0.1)
    assert [candidate.passed for candidate in outcome.candidates] == [False, True]
    assert left_at == THETA + 0.5


@pytest.mark.parametrize("num_candidates", [1, 3])
def test_along_the_gradient_no_more_are_tried_than_allowed(num_candidates: int) -> None:
    outcome, visited, left_at = _backtrack(_with_alignments(0.0, *[-0.1] * 8), num_candidates=num_candidates)
    assert (outcome.tried, outcome.accepted, outcome.chosen) == (num_candidates, 0, None)
    assert len(visited) == num_candidates
    assert left_at == THETA


@pytest.mark.parametrize(("loss", "end"), [(1.05, THETA - 0.5), (1.2, THETA)])
def test_the_control_of_the_gradient_moves_only_through_the_gate(loss: float, end: float) -> None:
    scores = [*_with_alignments(0.0, -0.1, 0.1), Score(-0.7, loss)]
    outcome, visited, left_at = _backtrack(scores, objective="none", loss_tolerance=0.1)
    assert visited == [THETA + 1, THETA + 0.5, THETA - 0.5]
    assert left_at == end
    assert outcome.candidates[-1].path == (4 + 1,)
    assert [candidate.accepted for candidate in outcome.candidates] == [False, True, False]
    assert outcome.chosen == (2 if end != THETA else None)


def test_the_control_of_the_gradient_stays_where_the_gradient_would() -> None:
    outcome, visited, left_at = _backtrack(_with_alignments(0.0, *[-0.1] * 8), objective="none")
    assert (outcome.tried, len(visited), left_at) == (4, 4, THETA)
