"""GGA-L: the scale of the noise, its distributions, and where it is added."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gga_sweep.annealing import (
    GGAL,
    add_to_gradients,
    draw_gradient_noise,
    gradient_agreement,
    l2_norm,
    noise_scale,
)

THREE_DOMAINS = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 5.0]])  # cosines 1, 0 and 0


def test_alpha_of_two_equal_domains_and_an_orthogonal_one_is_two_thirds_of_gamma() -> None:
    alpha = noise_scale(GGAL(gamma=0.3), gradient_agreement(THREE_DOMAINS).mean)
    assert alpha == pytest.approx(0.3 * 2 / 3, rel=1e-15)


@pytest.mark.parametrize(("mean_cosine", "share"), [(1.0, 0.0), (0.0, 1.0), (-1.0, 2.0)])
def test_the_less_the_gradients_agree_the_larger_is_alpha(mean_cosine: float, share: float) -> None:
    assert noise_scale(GGAL(gamma=0.01), mean_cosine) == pytest.approx(0.01 * share)


def test_a_constant_alpha_is_gamma_whatever_the_agreement() -> None:
    settings = GGAL(gamma=0.01, alpha="constant")
    assert [noise_scale(settings, cosine) for cosine in (1.0, -1.0, math.nan)] == [0.01] * 3


def test_without_a_defined_cosine_no_noise_is_added() -> None:
    zeroed = THREE_DOMAINS * torch.tensor([[1.0], [0.0], [1.0]])
    assert noise_scale(GGAL(gamma=0.01), gradient_agreement(zeroed).mean) == 0.0


@pytest.mark.parametrize(
    ("kind", "mean", "variance"), [("gaussian", 0.0, 1.0), ("uniform", 0.5, 1 / 12), ("uniform-centred", 0.0, 1 / 12)]
)
def test_each_kind_of_noise_has_its_moments(kind: str, mean: float, variance: float) -> None:
    parameters = [nn.Parameter(torch.zeros(300, 300)), nn.Parameter(torch.zeros(10_000))]
    xi = draw_gradient_noise(kind, torch.Generator().manual_seed(0), parameters).double()
    assert xi.shape == (100_000,)
    assert float(xi.mean()) == pytest.approx(mean, abs=4 * math.sqrt(variance / 100_000))
    assert float(xi.var()) == pytest.approx(variance, rel=0.03)
    if kind != "gaussian":
        assert mean - 0.5 <= float(xi.min()) < mean - 0.499
        assert mean + 0.499 < float(xi.max()) <= mean + 0.5


def test_noise_goes_to_the_gradients_there_are() -> None:
    with_gradient, without = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    with_gradient.grad = torch.tensor([1.0, 2.0])
    xi = torch.tensor([7.0, 7.0, 7.0, 3.0, 4.0])
    norm = add_to_gradients([without, with_gradient], xi, 0.5)
    assert torch.equal(with_gradient.grad, torch.tensor([2.5, 4.0]))
    assert without.grad is None
    assert norm == pytest.approx(2.5)
    assert torch.equal(with_gradient.detach(), torch.zeros(2))


def test_where_no_parameter_has_a_gradient_nothing_is_added() -> None:
    assert add_to_gradients([nn.Parameter(torch.zeros(2))], torch.ones(2), 0.5) == 0.0


def test_the_norm_is_summed_in_float64() -> None:
    assert l2_norm([torch.full((1000, 1000), 1e-3), torch.zeros(3)]) == pytest.approx(1.0, rel=1e-7)
