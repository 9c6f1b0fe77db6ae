"""EQRM against the quantile of a kernel density, by bisection, and its gradient, by finite differences."""

from __future__ import annotations

import math
from statistics import NormalDist, stdev

import pytest
import torch
import torch.nn.functional as F
from descents import assert_descends, assert_goes_on
from tiny_hosts import tiny_batch, tiny_host
from torch import Tensor

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.eqrm import kernel_quantile
from gga_sweep.networks.network import Network

LOSSES = [[0.3, 0.9], [0.3, 0.9, 0.5], [2.0, 2.1, 0.1, 1.0], [1.0, 1.0 + 1e-3, 1.0]]
QUANTILES = [0.05, 0.5, 0.75, 0.99]


def quantile_of(losses: list[float], quantile: float) -> float:
    width = 1.06 * stdev(losses) * len(losses) ** -0.2
    low, high = min(losses) - 10 * width, max(losses) + 10 * width
    for _ in range(200):
        middle = (low + high) / 2
        below = sum(NormalDist(loss, width).cdf(middle) for loss in losses) / len(losses)
        low, high = (low, middle) if below > quantile else (middle, high)
    return (low + high) / 2


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("exact", [False, True])
def test_the_quantile_is_that_of_the_kernel_density(losses: list[float], quantile: float, exact: bool) -> None:
    found = kernel_quantile(torch.tensor(losses, dtype=torch.float64), quantile, exact)
    assert float(found) == pytest.approx(quantile_of(losses, quantile), abs=1e-8)


@pytest.mark.parametrize("losses", LOSSES[:3])
@pytest.mark.parametrize("quantile", QUANTILES)
def test_the_paper_form_has_the_gradient_of_the_quantile(losses: list[float], quantile: float) -> None:
    given = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(kernel_quantile(given, quantile, True), given)
    for index in range(len(losses)):
        ends = [[*losses], [*losses]]
        ends[0][index] -= 1e-5
        ends[1][index] += 1e-5
        slope = (quantile_of(ends[1], quantile) - quantile_of(ends[0], quantile)) / 2e-5
        assert float(gradient[index]) == pytest.approx(slope, abs=1e-5)


def test_domainbeds_form_differentiates_the_ends_of_the_bracket() -> None:
    """At a place between them that is a constant to the gradient."""
    losses = torch.tensor([0.3, 0.9, 0.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(kernel_quantile(losses, 0.75, False), losses)
    width = 1.06 * losses.std() * 3**-0.2
    low, high = (end + NormalDist().inv_cdf(0.75) * width for end in (losses[0], losses[1]))
    place = (quantile_of(losses.tolist(), 0.75) - low.item()) / (high - low).item()
    (expected,) = torch.autograd.grad((1 - place) * low + place * high, losses)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("exact", [False, True])
def test_equal_losses_have_a_finite_gradient(exact: bool) -> None:
    losses = torch.full((3,), 0.7, requires_grad=True)
    found = kernel_quantile(losses, 0.75, exact)
    (gradient,) = torch.autograd.grad(found, losses)
    assert float(found.detach()) == pytest.approx(0.7, abs=1e-5)
    assert all(math.isfinite(each) for each in gradient.tolist())


def losses_of(network: Network, batch: Batch) -> Tensor:
    logits = network(batch.images, batch.mask).split(batch.rows)
    return torch.stack([F.cross_entropy(*pair) for pair in zip(logits, batch.labels.split(batch.rows), strict=True)])


@pytest.mark.parametrize("paper_form", [False, True])
def test_a_step_after_the_burn_in_descends_the_quantile(paper_form: bool) -> None:
    batch = tiny_batch(dropout=0.5)
    host = tiny_host("EQRM", eqrm_burnin_iters=0, eqrm_lr=1e-2, eqrm_quantile=0.9, paper_form=paper_form)
    assert_descends(host, batch, lambda network: kernel_quantile(losses_of(network, batch), 0.9, paper_form))


def test_a_step_of_the_burn_in_descends_the_mean() -> None:
    batch = tiny_batch(dropout=0.5)
    assert_descends(tiny_host("EQRM"), batch, lambda network: losses_of(network, batch).mean())


def test_the_burn_in_goes_on_after_a_resume() -> None:
    batches = [tiny_batch(step) for step in range(4)]
    assert_goes_on(lambda: tiny_host("EQRM", eqrm_burnin_iters=2, eqrm_lr=0.05), batches)
