"""What a search does not accept, or does not try; the weights keep their bits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from toy_model import ToyModel, fixed_choice, generator_of

from gga_sweep.annealing import GGA, VARIANTS, Draw, ScoredModel, SearchOutcome, search_step


def _search(model: ToyModel, variant: str, scored: ScoredModel | None = None, **changes: object) -> SearchOutcome:
    numbers = {"start_step": 0, "num_steps": 1, "radius": 0.05, "num_candidates": 5, "loss_tolerance": math.inf}
    settings = GGA.of_variant(variant, **{**numbers, **changes})
    weights = model.parameters
    return search_step(scored or model, weights, weights, model.buffers, generator_of(0), fixed_choice(), settings)


def _weights(model: ToyModel) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters]


def _assert_unmoved(model: ToyModel, before: list[Tensor]) -> None:
    assert all(torch.equal(now, then) for now, then in zip(model.parameters, before, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("dtype", "radius"), [(torch.float32, 1e-12), (torch.bfloat16, 1e-5)])
def test_a_radius_that_vanishes_in_the_weights_is_refused(variant: str, dtype: torch.dtype, radius: float) -> None:
    model = ToyModel(dtype=dtype)
    before = _weights(model)
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(ValueError, match=rf"radius vanishes .* \({name}\): \d+% of the perturbed entries did not move"):
        _search(model, variant, radius=radius)
    _assert_unmoved(model, before)


def test_the_share_of_unmoved_entries_is_reported() -> None:
    model = ToyModel(dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters:
            parameter.copy_(torch.where(torch.arange(parameter.numel()).view_as(parameter) % 2 == 0, 1e3, 1e-3))
    entries = torch.cat([parameter.detach().flatten() for parameter in model.parameters])
    share = float((entries > 1).double().mean())
    with pytest.raises(ValueError, match=rf"\(float32\): {share:.0%} of the perturbed entries did not move"):
        _search(model, "paper", radius=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_radius_that_the_weights_can_hold_is_accepted(dtype: torch.dtype) -> None:
    for variant in VARIANTS:
        assert _search(ToyModel(dtype=dtype), variant, radius=1e-5 if dtype == torch.float32 else 0.05).tried > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_radius_zero_moves_nothing_and_is_no_error(variant: str) -> None:
    model = ToyModel(dtype=torch.float32, dropout=0.0)
    before = _weights(model)
    outcome = _search(model, variant, radius=0.0)
    assert (outcome.tried, outcome.accepted, outcome.distance) == (5, 0, 0.0)
    assert {candidate.score.alignment for candidate in outcome.candidates} == {outcome.before.alignment}
    _assert_unmoved(model, before)


class OnceTanh(torch.autograd.Function):
    """tanh without a second derivative."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.tanh())
        return x.tanh()

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return gradient * (1 - y * y)


class OnceActivation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return OnceTanh.apply(x)


@pytest.mark.parametrize("method", ["loop", "layerwise"])
def test_an_operation_without_a_second_derivative_is_refused_by_guided(method: str) -> None:
    model = ToyModel()
    model.network.featurizer[2] = OnceActivation()
    before = _weights(model)
    with pytest.raises(ValueError, match=r"guided.* needs second derivatives.*once_differentiable.*Use direction"):
        _search(model, "guided", domain_gradients=method)
    _assert_unmoved(model, before)
    assert _search(model, "guided", objective="loss", domain_gradients=method).tried > 0
    assert _search(model, "paper", domain_gradients=method).tried == 5


class CountingModel(ToyModel):
    """Counts its domain losses."""

    losses = 0

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        self.losses += 1
        return super().domain_loss(domain, draw)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("objective", ["alignment", "none", "anti", "loss"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_domain_without_a_gradient_stops_the_search(variant: str, objective: str, bad: float) -> None:
    model = CountingModel(loss_scales=(1.0, bad, 1.0))
    before = _weights(model)
    outcome = _search(model, variant, objective=objective)
    assert math.isnan(outcome.before.alignment)
    assert (outcome.tried, outcome.accepted, outcome.chosen, outcome.distance) == (0, 0, None, 0.0)
    assert (model.losses, outcome.start) == (3, ())
    _assert_unmoved(model, before)


class LossOnly:
    """A model that knows nothing of one forward for all domains."""

    def __init__(self, model: ToyModel) -> None:
        self.n_domains, self.domain_loss, self.joint_loss = model.n_domains, model.domain_loss, model.joint_loss


def test_layerwise_needs_a_model_that_forwards_all_domains_at_once() -> None:
    model = ToyModel()
    assert _search(model, "paper", LossOnly(model)).tried == 5
    with pytest.raises(ValueError, match="'layerwise' needs a ConcatenatedModel, use 'loop'"):
        _search(model, "paper", LossOnly(model), domain_gradients="layerwise")


@pytest.mark.parametrize("method", ["loop", "layerwise"])
def test_nothing_that_requires_a_gradient_is_refused(method: str) -> None:
    model = ToyModel()
    model.network.requires_grad_(False)
    with pytest.raises(ValueError, match="at least one parameter must require a gradient, got 4 that do not"):
        _search(model, "paper", domain_gradients=method)


def test_a_single_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 domains, got 1"):
        _search(ToyModel(n_domains=1), "paper")
