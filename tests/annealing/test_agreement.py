"""Cosines between domain gradients, against numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.annealing import gradient_agreement


def _reference_cosines(gradients: np.ndarray) -> np.ndarray:
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    return np.array([[float((a * b).sum()) for b in units] for a in units])


@given(seed=st.integers(0, 2**31), n_domains=st.integers(2, 5), entries=st.integers(1, 50))
@settings(max_examples=25, deadline=None)
def test_cosines_norms_minimum_and_mean_are_those_of_numpy(seed: int, n_domains: int, entries: int) -> None:
    gradients = np.random.default_rng(seed).normal(size=(n_domains, entries))
    found = gradient_agreement(torch.from_numpy(gradients))
    cosines = _reference_cosines(gradients)
    pairs = [cosines[i, j] for i, j in itertools.combinations(range(n_domains), 2)]
    np.testing.assert_allclose(found.cosines, cosines, atol=1e-13)
    np.testing.assert_allclose(found.norms, np.linalg.norm(gradients, axis=1), rtol=1e-13)
    assert found.minimum == pytest.approx(min(pairs), abs=1e-13)
    assert found.mean == pytest.approx(sum(pairs) / len(pairs), abs=1e-13)


def test_float32_gradients_of_many_entries_are_summed_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(3, 600_001, generator=generator) + 0.5  # more than two chunks, and a part of one
    np.testing.assert_allclose(
        gradient_agreement(gradients).cosines, _reference_cosines(gradients.numpy().astype(np.float64)), atol=1e-13
    )


def test_cosines_stay_within_one_whatever_the_rounding() -> None:
    for seed in range(100):
        row = torch.randn(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = gradient_agreement(torch.stack([row, 3 * row, -row]))
        assert max(map(max, found.cosines)) <= 1.0
        assert min(map(min, found.cosines)) >= -1.0
        assert found.minimum == pytest.approx(-1.0, abs=1e-15)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_a_zero_nan_or_infinite_gradient_has_no_cosine(bad: float) -> None:
    found = gradient_agreement(torch.tensor([[1.0, 2.0], [2.0, 1.0], [bad, bad]]))
    defined = [[not math.isnan(cosine) for cosine in row] for row in found.cosines]
    assert defined == [[True, True, False], [True, True, False], [False, False, False]]
    assert found.cosines[0][1] == pytest.approx(0.8)
    assert math.isnan(found.minimum)
    assert math.isnan(found.mean)


def test_a_single_domain_has_no_agreement() -> None:
    found = gradient_agreement(torch.tensor([[3.0, 4.0]]))
    assert found.norms == (5.0,)
    assert math.isnan(found.minimum)
    assert math.isnan(found.mean)
