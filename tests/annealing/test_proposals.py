"""Noise and paths: where candidates lie, and that weights come there and back with the same bits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gga_sweep.annealing.proposals import MovableWeights, candidate_path, uniform_noise


def _noise(index: int) -> Tensor:
    return uniform_noise(torch.Generator().manual_seed(index), 10, 0.1, torch.float32)


def _weights() -> list[Tensor]:
    generator = torch.Generator().manual_seed(99)
    return [torch.randn(2, 3, generator=generator), torch.randn(4, generator=generator)]


def test_noise_is_uniform_in_its_box() -> None:
    radius = 1e-3
    noise = uniform_noise(torch.Generator().manual_seed(0), 200_000, radius, torch.float64)
    assert noise.shape == (200_000,)
    assert float(noise.abs().max()) <= radius
    assert float(noise.mean()) == pytest.approx(0, abs=4 * radius / math.sqrt(3 * 200_000))
    assert float(noise.std()) == pytest.approx(radius / math.sqrt(3), rel=0.01)
    counts = torch.histc(noise, bins=10, min=-radius, max=radius)
    assert float(((counts - 20_000) ** 2 / 20_000).sum()) < 27.9  # chi-squared, 9 degrees of freedom, p = 0.001


def test_noise_is_a_function_of_its_generator() -> None:
    assert torch.equal(_noise(3), _noise(3))
    assert not torch.equal(_noise(3), _noise(4))


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
            matrix += _noise(index)[:6].view(2, 3)
            vector += _noise(index)[6:]
        assert weights.path == path
        assert torch.equal(parameters[0], matrix)
        assert torch.equal(parameters[1], vector)


def test_a_path_that_goes_on_makes_only_the_noise_still_missing() -> None:
    made: list[int] = []

    def counted(index: int) -> Tensor:
        made.append(index)
        return _noise(index)

    weights = MovableWeights(_weights(), counted)
    for path in [(0,), (0, 1), (0, 1, 2), (3,), ()]:
        weights.move_to(path)
    assert made == [0, 1, 2, 3]


def test_parameters_that_lie_in_memory_in_another_order_get_the_same_noise() -> None:
    plain, last = torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    noise = uniform_noise(torch.Generator().manual_seed(1), plain.numel(), 0.1, torch.float32)
    for tensor in (plain, last):
        MovableWeights([tensor], lambda _: noise).move_to((0,))
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_the_distance_is_the_l2_norm_of_the_move() -> None:
    parameters = [torch.zeros(2, 2), torch.ones(1)]
    weights = MovableWeights(parameters, lambda _: torch.tensor([1.0, 2.0, 2.0, 4.0, 0.0]))
    assert weights.distance() == 0.0
    weights.move_to((0,))
    assert weights.distance() == 5.0


def test_nothing_to_perturb_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one parameter must be perturbed, got none"):
        MovableWeights([], _noise)
