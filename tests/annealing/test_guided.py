"""The direction of the variant guided: closed forms, finite differences, and what the switches do to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn
from toy_model import ToyModel, fixed_choice, generator_of

from gga_sweep.annealing import GGA, STEP_MASK, Draw, Scorer, SearchOutcome, search_step
from gga_sweep.annealing.guided import alignment_gradient, ascent_signs

ENTRIES = 5


class Quadratics:
    """Domain i has the loss 1/2 (x - a_i)^T A_i (x - a_i), A_i symmetric; x lies in two parameters."""

    def __init__(self, seed: int, n_domains: int = 2) -> None:
        random = np.random.default_rng(seed)
        roots = random.normal(size=(n_domains, ENTRIES, ENTRIES))
        self.curvatures, self.centres = roots @ roots.transpose(0, 2, 1), random.normal(size=(n_domains, ENTRIES))
        self.point = random.normal(size=ENTRIES)
        self.n_domains = n_domains
        self.parameters = [nn.Parameter(torch.tensor(part)) for part in np.split(self.point, [2])]

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        offset = torch.cat(self.parameters) - torch.tensor(self.centres[domain])
        return offset @ torch.tensor(self.curvatures[domain]) @ offset / 2

    def joint_loss(self, draw: Draw) -> Tensor:
        raise AssertionError("the mean was computed")

    def least_aligned(self) -> tuple[int, int]:
        gradients = self._gradients()
        units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
        pairs = [(i, j) for i in range(self.n_domains) for j in range(i)]
        return min(pairs, key=lambda pair: units[pair[0]] @ units[pair[1]])

    def alignment_gradient(self) -> np.ndarray:
        """Each gradient A_i (x - a_i) has the derivative A_i."""
        i, j = self.least_aligned()
        g, h = self._gradients()[[i, j]]
        g_norm, h_norm = np.linalg.norm(g), np.linalg.norm(h)
        cosine = g @ h / (g_norm * h_norm)
        by_g = h / (g_norm * h_norm) - cosine * g / g_norm**2
        by_h = g / (g_norm * h_norm) - cosine * h / h_norm**2
        return self.curvatures[i] @ by_g + self.curvatures[j] @ by_h

    def _gradients(self) -> np.ndarray:
        return np.einsum("dij,dj->di", self.curvatures, self.point - self.centres)


def _step_mask(_: int) -> Draw:
    return STEP_MASK


def _measured(model: Quadratics | ToyModel, parameters: Sequence[Tensor]) -> Scorer:
    scorer = Scorer(model, parameters, [])
    scorer.differentiate(_step_mask)
    return scorer


@given(seed=st.integers(0, 2**31), n_domains=st.integers(2, 4))
@examples(max_examples=25, deadline=None)
def test_on_quadratic_losses_the_gradient_of_the_alignment_is_the_closed_form(seed: int, n_domains: int) -> None:
    model = Quadratics(seed, n_domains)
    expected = model.alignment_gradient()
    scorer = _measured(model, model.parameters)
    signs = ascent_signs("alignment", scorer, _step_mask, model.parameters, model.parameters)
    found = alignment_gradient(_measured(model, model.parameters), _step_mask, model.parameters)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    clear = np.abs(expected) > 1e-6 * np.abs(expected).max()
    assert (signs.numpy() == np.sign(expected))[clear].all()


def test_with_dropout_the_direction_is_the_finite_difference_of_the_alignment() -> None:
    model = ToyModel()
    found = alignment_gradient(_measured(model, model.parameters), _step_mask, model.parameters)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        along = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in model.parameters]
        ends = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                torch._foreach_add_(model.parameters, along, alpha=step)
            ends.append(float(Scorer(model, model.parameters, []).alignment(STEP_MASK)))
        with torch.no_grad():
            torch._foreach_add_(model.parameters, along, alpha=1e-5)
        slope = float(found @ torch.cat([part.flatten() for part in along]))
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)


def _guided(model: ToyModel, perturbed: Sequence[nn.Parameter] | None = None, **changes: object) -> SearchOutcome:
    numbers = {"start_step": 0, "num_steps": 1, "radius": 1e-3, "loss_tolerance": math.inf}
    settings = GGA.of_variant("guided", **{**numbers, **changes})
    moving = model.parameters if perturbed is None else perturbed
    return search_step(model, model.parameters, moving, model.buffers, generator_of(0), fixed_choice(), settings)


@pytest.mark.parametrize("method", ["loop", "layerwise"])
def test_a_short_step_raises_the_alignment_or_what_else_is_wanted(method: str) -> None:
    for seed in range(8):
        outcomes = {
            objective: _guided(ToyModel(seed), objective=objective, domain_gradients=method)
            for objective in ("alignment", "anti", "loss")
        }
        assert outcomes["alignment"].after.alignment > outcomes["alignment"].before.alignment
        assert outcomes["anti"].after.alignment < outcomes["anti"].before.alignment
        assert outcomes["loss"].after.loss < outcomes["loss"].before.loss
        assert [outcome.tried for outcome in outcomes.values()] == [1, 1, 1]


def test_it_is_far_better_than_as_many_random_candidates() -> None:
    gains = {"guided": 0.0, "paper": 0.0}
    for seed in range(8):
        for variant in gains:
            model = ToyModel(seed)
            settings = GGA.of_variant(
                variant, start_step=0, num_steps=1, radius=1e-3, num_candidates=4, loss_tolerance=math.inf
            )
            outcome = search_step(
                model, model.parameters, model.parameters, [], generator_of(seed), fixed_choice(), settings
            )
            gains[variant] += outcome.after.alignment - outcome.before.alignment
    assert gains["guided"] > 3 * gains["paper"] > 0


@pytest.mark.parametrize("radius", [1e-3, 0.05, 2.0])
@pytest.mark.parametrize("dead", [False, True])
def test_the_control_goes_exactly_as_far_as_the_gradient_would(radius: float, dead: bool) -> None:
    compared = 0
    for seed in range(8):
        models = ToyModel(seed), ToyModel(seed)
        for model in models:
            for images, _ in model.batches if dead else []:
                images[:, 0] = 0.0  # the weights of this input have no gradient
        guided, control = (
            _guided(model, radius=radius, objective=objective)
            for model, objective in zip(models, ("alignment", "none"), strict=True)
        )
        assert (control.chosen is None) == (guided.chosen is None)
        assert control.candidates[: guided.tried] == guided.candidates
        assert control.distance == pytest.approx(guided.distance, rel=1e-12)
        if guided.chosen is not None:
            compared += 1
            assert control.tried == guided.tried + 1
            moved = sum(parameter.numel() for parameter in models[0].parameters) - 7 * dead
            assert guided.distance == pytest.approx(radius * 0.5**guided.chosen * math.sqrt(moved), rel=1e-9)
            assert not torch.equal(models[0].parameters[0], models[1].parameters[0])
    assert compared > 0


def test_what_is_not_perturbed_is_scored_but_does_not_move() -> None:
    model = ToyModel()
    before = [parameter.detach().clone() for parameter in model.parameters]
    outcome = _guided(model, model.featurizer_parameters)
    assert outcome.chosen == 0
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters, strict=True)]
    assert moved == [True, True, False, False]


def test_a_frozen_or_unscored_parameter_does_not_move() -> None:
    model = ToyModel()
    other = nn.Parameter(torch.ones(3, dtype=torch.float64))
    frozen = model.network.classifier.bias.requires_grad_(False)
    before = frozen.clone()
    assert _guided(model, [other, *model.parameters]).chosen == 0
    assert torch.equal(frozen, before)
    assert torch.equal(other, torch.ones_like(other))


class Linear(Quadratics):
    """Losses without curvature: their gradients, and so the alignment, are the same everywhere."""

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        return torch.tensor(self.centres[domain]) @ torch.cat(self.parameters)


def test_losses_without_curvature_move_nothing() -> None:
    model = Linear(0)
    settings = GGA.of_variant("guided", start_step=0, num_steps=1, radius=0.1)
    outcome = search_step(model, model.parameters, model.parameters, [], generator_of(0), fixed_choice(), settings)
    assert (outcome.tried, outcome.chosen, outcome.distance) == (4, None, 0.0)
    np.testing.assert_array_equal(torch.cat(model.parameters).detach().numpy(), model.point)


def test_the_sign_of_a_masked_score_is_that_of_its_own_masks() -> None:
    """With a new mask at every forward the direction is taken under the masks of the start."""
    model = ToyModel()
    draw_of = {"start": lambda domain: ("start", domain), "step": _step_mask}
    signs = {}
    for name, draw in draw_of.items():
        scorer = Scorer(model, model.parameters, [])
        scorer.differentiate(draw)
        signs[name] = ascent_signs("alignment", scorer, draw, model.parameters, model.parameters)
    assert not torch.equal(signs["start"], signs["step"])
    start = torch.cat([parameter.detach().flatten() for parameter in model.parameters])
    outcome = _guided(model, mask="forward", objective="alignment", num_candidates=1, radius=1e-6)
    end = torch.cat([parameter.detach().flatten() for parameter in model.parameters])
    expected = signs["start"] * 1e-6 if outcome.chosen == 0 else torch.zeros_like(start)
    torch.testing.assert_close(end, start + expected, rtol=0, atol=1e-15)


class Attention(nn.Module):
    """Fused attention over the features of an image, which has no second derivative."""

    def forward(self, features: Tensor) -> Tensor:
        tokens = features[:, None, :, None].expand(-1, 1, -1, 4).contiguous()
        return nn.functional.scaled_dot_product_attention(tokens, tokens * 0.5, tokens)[:, 0, :, 0]


def test_a_network_with_attention_has_a_direction() -> None:
    model = ToyModel(dropout=0.0, dtype=torch.float32)
    model.network.featurizer.append(Attention())
    parameters = list(model.network.parameters())
    scorer = Scorer(model, parameters, [])
    scorer.measure(lambda _: STEP_MASK, "mean")
    signs = ascent_signs("alignment", scorer, lambda _: STEP_MASK, parameters, parameters)
    assert set(signs.unique().tolist()) == {-1, 1}
