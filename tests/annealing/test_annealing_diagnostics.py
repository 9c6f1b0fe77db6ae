"""The diagnostics of a search, against the alignments computed by hand at its two ends."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy_model import ToyModel, fixed_choice, generator_of

from gga_sweep.annealing import GGA, Diagnosis, Draw, SearchOutcome, diagnose, moved_radii, search_step


class CountingModel(ToyModel):
    """Counts its forwards and consumes global random numbers; fails at the forward numbered `fails_at`."""

    forwards = 0
    ignores_draws = False
    fails_at: int | None = None

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        self.forwards += 1
        if self.forwards == self.fails_at:
            raise RuntimeError("the device went away")
        torch.rand(1)
        return super().domain_loss(domain, draw)


def _alignment(model: ToyModel, draw: Draw) -> float:
    gradients = []
    for domain in range(model.n_domains):
        parts = torch.autograd.grad(model.domain_loss(domain, draw), model.parameters)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    return min(F.cosine_similarity(a, b, dim=0).item() for a, b in itertools.combinations(gradients, 2))


def _settings(**changes: object) -> GGA:
    numbers = {"start_step": 0, "num_steps": 1, "radius": 0.05, "num_candidates": 8}
    return GGA.of_mapping({**numbers, **changes})


def _searched(tolerance: float) -> tuple[CountingModel, CountingModel, SearchOutcome]:
    """A model after its search, and the model of the next minibatches on the same network."""
    model, next_model = CountingModel(0, batch_norm=True), CountingModel(1, batch_norm=True)
    next_model.network = model.network
    settings = _settings(loss_tolerance=tolerance)
    outcome = search_step(
        model, model.parameters, model.parameters, model.buffers, generator_of(0), fixed_choice(), settings
    )
    model.forwards = 0
    return model, next_model, outcome


def _diagnose(model: ToyModel, next_model: ToyModel, outcome: SearchOutcome) -> Diagnosis:
    return diagnose(outcome, model, next_model, model.parameters, model.parameters, model.buffers, _settings())


def test_both_ends_are_measured_under_four_fresh_masks_and_on_the_next_minibatches() -> None:
    model, next_model, outcome = _searched(math.inf)
    diagnosis = _diagnose(model, next_model, outcome)

    def expected() -> tuple[float, float]:
        fresh = [_alignment(model, ("fresh", mask)) for mask in range(4)]
        return sum(fresh) / 4, _alignment(next_model, ("step",))

    fresh_after, next_after = expected()
    with torch.no_grad():
        for parameter, start in zip(model.parameters, outcome.start, strict=True):
            parameter.copy_(start)
    fresh_before, next_before = expected()
    assert diagnosis.fresh_alignment_before == pytest.approx(fresh_before, abs=1e-12)
    assert diagnosis.fresh_alignment_after == pytest.approx(fresh_after, abs=1e-12)
    assert diagnosis.next_alignment_before == pytest.approx(next_before, abs=1e-12)
    assert diagnosis.next_alignment_after == pytest.approx(next_after, abs=1e-12)
    assert len({fresh_before, fresh_after, next_before, next_after}) == 4


def test_diagnosing_leaves_no_trace() -> None:
    model, next_model, outcome = _searched(math.inf)
    before = [tensor.clone() for tensor in model.network.state_dict().values()]
    state = torch.get_rng_state()
    _diagnose(model, next_model, outcome)
    assert all(torch.equal(a, b) for a, b in zip(before, model.network.state_dict().values(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters)
    assert (model.forwards, next_model.forwards) == (2 * 4 * 3, 2 * 3)


def test_an_error_leaves_the_weights_where_the_search_put_them() -> None:
    model, next_model, outcome = _searched(math.inf)
    before = [tensor.clone() for tensor in model.network.state_dict().values()]
    model.fails_at = 4 * 3 + 5  # after the weights went back to the start
    with pytest.raises(RuntimeError, match="went away"):
        _diagnose(model, next_model, outcome)
    assert all(torch.equal(a, b) for a, b in zip(before, model.network.state_dict().values(), strict=True))


def test_where_nothing_moved_each_alignment_is_measured_once() -> None:
    model, next_model, outcome = _searched(-math.inf)
    diagnosis = _diagnose(model, next_model, outcome)
    assert (model.forwards, next_model.forwards) == (4 * 3, 3)
    assert diagnosis.fresh_alignment_before == diagnosis.fresh_alignment_after
    assert diagnosis.next_alignment_before == diagnosis.next_alignment_after


def test_alignments_under_fresh_masks_are_those_of_the_search_where_losses_ignore_their_draws() -> None:
    model, next_model, outcome = _searched(math.inf)
    model.ignores_draws = True
    diagnosis = _diagnose(model, next_model, outcome)
    assert (model.forwards, next_model.forwards) == (0, 2 * 3)
    assert diagnosis.fresh_alignment_before == outcome.before.alignment
    assert diagnosis.fresh_alignment_after == outcome.after.alignment
    assert diagnosis.next_alignment_before != diagnosis.next_alignment_after


def test_the_distance_is_in_radii() -> None:
    model, _, outcome = _searched(math.inf)
    entries = sum(parameter.numel() for parameter in model.parameters)
    found = moved_radii(outcome.distance, 0.05, entries)
    assert found == pytest.approx(outcome.distance / (0.05 * math.sqrt(entries)))
    assert found == pytest.approx(1 / math.sqrt(3), rel=0.25)


def test_a_corner_of_the_box_is_one_radius_away_and_no_move_none() -> None:
    assert moved_radii(math.sqrt(9 * 0.01**2), 0.01, 9) == pytest.approx(1.0)
    assert moved_radii(0.0, 0.0, 9) == 0.0


def test_one_backward_of_all_domains_finds_the_same() -> None:
    found = []
    for method in ("loop", "layerwise"):
        model, next_model = ToyModel(0), ToyModel(1)
        next_model.module = next_model.network = model.network
        settings = _settings(loss_tolerance=math.inf, domain_gradients=method)
        weights = model.parameters
        outcome = search_step(model, weights, weights, [], generator_of(0), fixed_choice(), settings)
        found.append(dataclasses.astuple(diagnose(outcome, model, next_model, weights, weights, [], settings)))
    assert found[0] == pytest.approx(found[1], abs=1e-12)
