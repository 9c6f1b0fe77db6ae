"""Noise and paths: where candidates lie, and that weights come there and back with the same bits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gga_sweep.annealing.proposals import (
    Displacement,
    MovableWeights,
    candidate_path,
    halved_step,
    random_signs,
    uniform_noise,
)


def _noise(index: int) -> Displacement:
    return uniform_noise(torch.Generator().manual_seed(index), _weights(), 0.1)


def _weights() -> list[Tensor]:
    generator = torch.Generator().manual_seed(99)
    return [torch.randn(2, 3, generator=generator), torch.randn(4, generator=generator)]


def test_noise_is_uniform_in_its_box() -> None:
    radius = 1e-3
    parameters = [torch.zeros(400, 400, dtype=torch.float64), torch.zeros(40_000, dtype=torch.float64)]
    matrix, vector = uniform_noise(torch.Generator().manual_seed(0), parameters, radius).pieces
    assert (matrix.shape, vector.shape) == ((400, 400), (40_000,))
    noise = torch.cat([matrix.flatten(), vector])
    assert float(noise.abs().max()) <= radius
    assert float(noise.mean()) == pytest.approx(0, abs=4 * radius / math.sqrt(3 * 200_000))
    assert float(noise.std()) == pytest.approx(radius / math.sqrt(3), rel=0.01)
    counts = torch.histc(noise, bins=10, min=-radius, max=radius)
    assert float(((counts - 20_000) ** 2 / 20_000).sum()) < 27.9  # chi-squared, 9 degrees of freedom, p = 0.001


def test_noise_is_a_function_of_its_generator() -> None:
    first, again, other = (_noise(index).pieces[0] for index in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_candidates_of_the_start_are_independent_of_what_was_accepted() -> None:
    assert candidate_path("start", 3, None, ()) == (3,)
    assert candidate_path("start", 3, 2, (2,)) == (3,)


def test_a_random_walk_begins_anew_after_an_acceptance() -> None:
    assert candidate_path("current", 3, None, ()) == (0, 1, 2, 3)
    assert candidate_path("current", 3, 1, (0, 1)) == (2, 3)
    assert candidate_path("current", 2, 1, (0, 1)) == (2,)


def test_hill_climbing_goes_on_from_the_best_point() -> None:
    assert candidate_path("accepted", 3, None, ()) == (3,)
    assert candidate_path("accepted", 5, 4, (2, 4)) == (2, 4, 5)


@given(st.lists(st.lists(st.integers(0, 4), max_size=4).map(tuple), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_a_point_has_the_same_bits_whichever_way_the_weights_came(paths: list[tuple[int, ...]]) -> None:
    parameters = _weights()
    weights = MovableWeights(parameters, _noise)
    for path in paths:
        weights.move_to(path)
        matrix, vector = _weights()
        for index in path:
            to_matrix, to_vector = _noise(index).pieces
            matrix += to_matrix
            vector += to_vector
        assert weights.path == path
        assert torch.equal(parameters[0], matrix)
        assert torch.equal(parameters[1], vector)


def test_a_path_that_goes_on_makes_only_the_noise_still_missing() -> None:
    made: list[int] = []

    def counted(index: int) -> Displacement:
        made.append(index)
        return _noise(index)

    weights = MovableWeights(_weights(), counted)
    for path in [(0,), (0, 1), (0, 1, 2), (3,), ()]:
        weights.move_to(path)
    assert made == [0, 1, 2, 3]


def test_noise_does_not_depend_on_the_memory_format() -> None:
    plain, last = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    for tensor in (plain, last):
        noise = uniform_noise(torch.Generator().manual_seed(1), [tensor], 0.1)
        MovableWeights([tensor], lambda _, noise=noise: noise).move_to((0,))
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_the_distance_is_the_l2_norm_of_the_move() -> None:
    parameters = [torch.zeros(2, 2), torch.ones(1)]
    move = Displacement([torch.tensor([[1.0, 2.0], [2.0, 4.0]]), torch.zeros(1)], 1.0)
    weights = MovableWeights(parameters, lambda _: move)
    assert weights.distance() == 0.0
    weights.move_to((0,))
    assert weights.distance() == 5.0


def test_nothing_to_perturb_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one parameter must be perturbed, got none"):
        MovableWeights([], _noise)


def test_the_distance_of_many_entries_is_summed_in_float64() -> None:
    weights = MovableWeights([torch.zeros(300_001)], lambda _: Displacement([torch.full((300_001,), 1e-3)], 1.0))
    weights.move_to((0,))
    assert weights.distance() == pytest.approx(float(torch.tensor(1e-3)) * math.sqrt(300_001), rel=1e-12)


def test_a_step_towards_a_corner_is_halved() -> None:
    signs = torch.tensor([1, -1, 0, 1, 1, -1, -1, 0, 0, 1], dtype=torch.int8)
    for halvings in range(4):
        parameters = _weights()
        MovableWeights(parameters, lambda index: halved_step(signs, _weights(), 0.1, index)).move_to((halvings,))
        expected = torch.cat([tensor.flatten() for tensor in _weights()]) + 0.1 / 2**halvings * signs
        torch.testing.assert_close(torch.cat([tensor.flatten() for tensor in parameters]), expected)


def test_random_signs_are_fair_coins() -> None:
    signs = random_signs(torch.Generator().manual_seed(0), [torch.zeros(100, 100)])
    assert (signs.shape, signs.dtype) == ((10_000,), torch.int8)
    assert set(signs.tolist()) == {-1, 1}
    assert float(signs.double().mean()) == pytest.approx(0, abs=4 / 100)


def test_weights_that_never_move_are_not_copied() -> None:
    weights = MovableWeights(_weights(), _noise)
    weights.move_to(())
    weights.restore()
    assert weights.start == ()
