"""GENIE's optimiser; two steps of it are in `test_batch_statistics`."""

from __future__ import annotations

import pytest
import torch
from descents import assert_goes_on
from tiny_hosts import convolutional_network, tiny_batch, tiny_host
from torch import nn

from gga_sweep.algorithms.genie import Equalizer


def moved(gradients: list[float], drop: float = 0.0, entries: int = 1, seed: int = 0) -> torch.Tensor:
    """How far the last step moves a parameter with the same gradient at each entry."""
    parameter = nn.Parameter(torch.zeros(entries, dtype=torch.float64))
    optimizer = Equalizer([parameter], rate=0.1, average=0.9, drop=drop, weight_decay=0.0)
    before = parameter.detach().clone()
    for gradient in gradients:
        before = parameter.detach().clone()
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.generator = torch.Generator().manual_seed(seed)
        optimizer.step()
    return parameter.detach() - before


def test_a_gradient_without_variance_is_followed_like_plain_descent() -> None:
    """Then k = tanh(10) and q is 1 but for the epsilons: the step is -rate times the gradient."""
    assert float(moved([0.5] * 5)) == pytest.approx(-0.1 * 0.5, rel=1e-6)


def test_a_gradient_of_large_variance_is_drowned_in_noise() -> None:
    """Of variance about 1e6, k is about 1e-6: what is left is noise of mean zero."""
    steps = moved([1e3, -1e3] * 20, entries=4000)
    assert float(steps.std()) > 0
    assert abs(float(steps.mean())) < 4 * float(steps.std()) / 4000**0.5


def test_a_share_of_the_entries_does_not_move_and_the_others_move_further() -> None:
    steps = moved([0.5], drop=0.3, entries=4000)
    assert float((steps == 0).double().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(steps.mean()) == pytest.approx(float(moved([0.5])), rel=0.05)


def test_the_seed_decides_the_step() -> None:
    one, other, again = (moved([0.5], drop=0.3, entries=50, seed=seed) for seed in (1, 2, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_weight_decay_is_part_of_the_gradient() -> None:
    parameter = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = Equalizer([parameter], rate=0.1, average=0.9, drop=0.0, weight_decay=0.25)
    parameter.grad = torch.zeros_like(parameter)
    optimizer.generator = torch.Generator()
    optimizer.step()
    assert float(parameter.detach()) == pytest.approx(2 - 0.1 * 0.5, rel=1e-6)


def test_it_goes_on_after_a_resume() -> None:
    assert_goes_on(lambda: tiny_host("GENIE", convolutional_network()), [tiny_batch(step, side=8) for step in range(3)])
