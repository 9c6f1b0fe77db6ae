"""The search of one annealed step on a real network: exact, replayable, and without a trace."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from toy_model import ToyModel, fixed_choice, generator_of

from gga_sweep.annealing import GGA, VARIANTS, Draw, ScoredModel, SearchOutcome, search_step

NUMBERS = {"start_step": 0, "num_steps": 1, "radius": 0.05, "num_candidates": 12}


def _settings(variant: str = "paper", **changes: object) -> GGA:
    return GGA.of_variant(variant, **{**NUMBERS, **changes})


def _perturbed(model: ToyModel, settings: GGA) -> list[torch.nn.Parameter]:
    return model.featurizer_parameters if settings.perturbs == "featurizer" else model.parameters


def _search(model: ToyModel, settings: GGA, noise_seed: int = 0, scored: ScoredModel | None = None) -> SearchOutcome:
    return search_step(
        scored or model,
        model.parameters,
        _perturbed(model, settings),
        model.buffers,
        generator_of(noise_seed),
        fixed_choice(),
        settings,
    )


def _snapshot(model: ToyModel) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in model.network.state_dict().values()]


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


class NoisyModel(ToyModel):
    """Consumes torch's global random numbers, as a network with ordinary dropout layers does."""

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        torch.rand(3)
        return super().domain_loss(domain, draw)

    def joint_loss(self, draw: Draw) -> Tensor:
        torch.rand(5)
        return super().joint_loss(draw)


class RecordingModel:
    """Passes on to a model and keeps the draws asked for; fails at the forward numbered `fails_at`."""

    def __init__(self, model: ToyModel, fails_at: int | None = None) -> None:
        self._model = model
        self._fails_at = fails_at
        self.n_domains = model.n_domains
        self.domain_draws: list[Draw] = []
        self.joint_draws: list[Draw] = []

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        loss = self._model.domain_loss(domain, draw)
        if len(self.domain_draws) == self._fails_at:
            raise RuntimeError("out of memory, says the device")
        self.domain_draws.append(draw)
        return loss

    def joint_loss(self, draw: Draw) -> Tensor:
        self.joint_draws.append(draw)
        return self._model.joint_loss(draw)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_search_that_rejects_all_leaves_no_trace(variant: str) -> None:
    model = NoisyModel(batch_norm=True, dtype=torch.float32)
    model.network.classifier.bias.requires_grad_(False)
    before, state = _snapshot(model), torch.get_rng_state()
    outcome = _search(model, _settings(variant, loss_tolerance=-math.inf))
    assert (outcome.tried, outcome.accepted, outcome.distance) == (12, 0, 0.0)
    assert _same(_snapshot(model), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert [parameter.grad for parameter in model.parameters] == [None] * 5
    assert [parameter.requires_grad for parameter in model.parameters] == [True] * 4 + [False]
    assert model.network.training


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_search_that_accepts_changes_the_perturbed_weights_alone(variant: str) -> None:
    model = NoisyModel(batch_norm=True)
    settings = _settings(variant, perturbs="featurizer")
    classifier, buffers = list(model.network.classifier.parameters()), model.buffers
    others, state = [tensor.detach().clone() for tensor in (*classifier, *buffers)], torch.get_rng_state()
    featurizer = [parameter.detach().clone() for parameter in model.featurizer_parameters]
    outcome = _search(model, settings)
    assert outcome.accepted > 0
    assert _same([*classifier, *buffers], others)
    assert torch.equal(torch.get_rng_state(), state)
    assert not _same(list(model.featurizer_parameters), featurizer)
    assert _same(list(outcome.start), featurizer)


def test_an_accepted_candidate_is_the_start_plus_its_noise_bit_for_bit() -> None:
    model = ToyModel(dtype=torch.float32)
    start = torch.cat([parameter.detach().flatten() for parameter in model.parameters])
    outcome = _search(model, _settings(loss_tolerance=math.inf))
    assert outcome.chosen is not None
    noise = torch.empty(len(start)).uniform_(-0.05, 0.05, generator=generator_of(0)(outcome.chosen))
    end = torch.cat([parameter.detach().flatten() for parameter in model.parameters])
    assert torch.equal(end, start + noise)
    assert outcome.distance == pytest.approx(float((end.double() - start.double()).norm()), rel=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_search_replays_bit_for_bit(variant: str) -> None:
    models = [ToyModel(dtype=torch.float32, batch_norm=True) for _ in range(2)]
    first, second = (_search(model, _settings(variant)) for model in models)
    assert first == second
    assert _same(_snapshot(models[0]), _snapshot(models[1]))


def test_an_error_while_scoring_puts_the_weights_back() -> None:
    model = ToyModel(batch_norm=True)
    before = _snapshot(model)
    with pytest.raises(RuntimeError, match="out of memory"):
        _search(model, _settings("released"), scored=RecordingModel(model, fails_at=7))
    assert _same(_snapshot(model), before)


def test_one_batch_for_every_domain_is_perfect_agreement() -> None:
    model = ToyModel(one_domain=True, dropout=0.0)
    outcome = _search(model, _settings(loss_tolerance=math.inf))
    assert outcome.before.alignment == pytest.approx(1.0, abs=1e-12)
    assert all(candidate.score.alignment == pytest.approx(1.0, abs=1e-12) for candidate in outcome.candidates)


def test_scaling_one_loss_leaves_the_alignments() -> None:
    plain = _search(ToyModel(), _settings(loss_tolerance=math.inf))
    scaled = _search(ToyModel(loss_scales=(1.0, 1e3, 1.0)), _settings(loss_tolerance=math.inf))
    for left, right in zip(plain.candidates, scaled.candidates, strict=True):
        assert left.score.alignment == pytest.approx(right.score.alignment, abs=1e-12)
    assert plain.chosen == scaled.chosen
    assert plain.before.loss != scaled.before.loss


@pytest.mark.parametrize(
    ("variant", "change"),
    [
        ("paper", {"origin": "current"}),
        ("paper", {"origin": "accepted"}),
        ("paper", {"mask": "forward"}),
        ("paper", {"objective": "none"}),
        ("paper", {"objective": "anti"}),
        ("paper", {"objective": "loss"}),
        ("paper", {"loss_tolerance": 0.001}),
        ("paper", {"loss_gate": "relative", "loss_tolerance": 0.0125}),
        ("paper", {"radius": 0.04}),
        ("paper", {"num_candidates": 4}),
        ("paper", {"direction": "gradient"}),
        ("guided", {"objective": "none"}),
        ("guided", {"objective": "anti"}),
        ("guided", {"objective": "loss"}),
        ("guided", {"mask": "forward"}),
        ("released", {"joint_loss": "mean"}),
        ("released", {"loss_reference": "start", "loss_tolerance": 0.0}),
    ],
)
def test_each_setting_changes_something(variant: str, change: dict[str, object]) -> None:
    tolerance = {"loss_tolerance": change["loss_tolerance"]} if len(change) > 1 else {}
    plain = _settings(variant, **tolerance)
    model, changed_model = ToyModel(), ToyModel()
    outcome, changed = _search(model, plain), _search(changed_model, _settings(variant, **change))
    assert outcome.candidates != changed.candidates or outcome.chosen != changed.chosen


def test_featurizer_and_all_move_different_weights() -> None:
    ends = []
    for perturbs in ("all", "featurizer"):
        model = ToyModel()
        start = _snapshot(model)
        _search(model, _settings(perturbs=perturbs, loss_tolerance=math.inf))
        ends.append([not torch.equal(a, b) for a, b in zip(start, _snapshot(model), strict=True)])
    assert ends == [[True, True, True, True], [True, True, False, False]]


def test_one_mask_a_step_serves_every_scoring() -> None:
    model = ToyModel()
    recording = RecordingModel(model)
    _search(model, _settings("paper"), scored=recording)
    assert recording.domain_draws == [("step",)] * 3 * 13
    assert recording.joint_draws == []
    _search(model, _settings("paper", joint_loss="forward"), scored=recording)
    assert recording.joint_draws == [("step",)] * 13


def test_a_new_mask_at_every_forward_is_named_by_candidate_and_forward() -> None:
    model = ToyModel()
    recording = RecordingModel(model)
    _search(model, _settings("released"), scored=recording)
    names: list[tuple[str | int, ...]] = [("start",), *(("candidate", candidate) for candidate in range(12))]
    assert recording.domain_draws == [(*name, domain) for name, domain in itertools.product(names, range(3))]
    assert recording.joint_draws == [(*name, 3) for name in names]


def test_a_joint_forward_sees_the_mean_of_equal_batches() -> None:
    mean = _search(ToyModel(), _settings("paper"))
    forward = _search(ToyModel(), _settings("paper", joint_loss="forward"))
    for left, right in zip(mean.candidates, forward.candidates, strict=True):
        assert left.score.loss == pytest.approx(right.score.loss, abs=1e-12)
