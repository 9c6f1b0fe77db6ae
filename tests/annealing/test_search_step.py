"""The search of one annealed step on a real network: exact, replayable, and without a trace."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from toy_host import ToyHost, fixed_choice, generator_of

from gga_sweep.annealing import GGA, VARIANTS, Draw, ScoredModel, SearchOutcome, search_step

NUMBERS = {"start_step": 0, "num_steps": 1, "radius": 0.05, "num_candidates": 12}


def _settings(variant: str = "paper", **changes: object) -> GGA:
    return GGA.of_variant(variant, **{**NUMBERS, **changes})


def _perturbed(host: ToyHost, settings: GGA) -> list[torch.nn.Parameter]:
    return host.featurizer_parameters if settings.perturbs == "featurizer" else host.parameters


def _search(host: ToyHost, settings: GGA, noise_seed: int = 0, model: ScoredModel | None = None) -> SearchOutcome:
    return search_step(
        model or host,
        host.parameters,
        _perturbed(host, settings),
        host.buffers,
        generator_of(noise_seed),
        fixed_choice(),
        settings,
    )


def _snapshot(host: ToyHost) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in host.network.state_dict().values()]


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


class NoisyHost(ToyHost):
    """Consumes torch's global random numbers, as a network with ordinary dropout layers does."""

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        torch.rand(3)
        return super().domain_loss(domain, draw)

    def joint_loss(self, draw: Draw) -> Tensor:
        torch.rand(5)
        return super().joint_loss(draw)


class RecordingModel:
    """Passes on to a host and keeps the draws asked for; fails at the forward numbered `fails_at`."""

    def __init__(self, host: ToyHost, fails_at: int | None = None) -> None:
        self._host = host
        self._fails_at = fails_at
        self.n_domains = host.n_domains
        self.domain_draws: list[Draw] = []
        self.joint_draws: list[Draw] = []

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        loss = self._host.domain_loss(domain, draw)
        if len(self.domain_draws) == self._fails_at:
            raise RuntimeError("out of memory, says the device")
        self.domain_draws.append(draw)
        return loss

    def joint_loss(self, draw: Draw) -> Tensor:
        self.joint_draws.append(draw)
        return self._host.joint_loss(draw)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_search_that_rejects_all_leaves_no_trace(variant: str) -> None:
    host = NoisyHost(batch_norm=True, dtype=torch.float32)
    host.network.classifier.bias.requires_grad_(False)
    before, state = _snapshot(host), torch.get_rng_state()
    outcome = _search(host, _settings(variant, loss_tolerance=-math.inf))
    assert (outcome.tried, outcome.accepted, outcome.distance) == (12, 0, 0.0)
    assert _same(_snapshot(host), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert [parameter.grad for parameter in host.parameters] == [None] * 5
    assert [parameter.requires_grad for parameter in host.parameters] == [True] * 4 + [False]
    assert host.network.training


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_search_that_accepts_changes_the_perturbed_weights_alone(variant: str) -> None:
    host = NoisyHost(batch_norm=True)
    settings = _settings(variant, perturbs="featurizer")
    classifier, buffers = list(host.network.classifier.parameters()), host.buffers
    others, state = [tensor.detach().clone() for tensor in (*classifier, *buffers)], torch.get_rng_state()
    featurizer = [parameter.detach().clone() for parameter in host.featurizer_parameters]
    outcome = _search(host, settings)
    assert outcome.accepted > 0
    assert _same([*classifier, *buffers], others)
    assert torch.equal(torch.get_rng_state(), state)
    assert not _same(list(host.featurizer_parameters), featurizer)
    assert _same(list(outcome.start), featurizer)


def test_an_accepted_candidate_is_the_start_plus_its_noise_bit_for_bit() -> None:
    host = ToyHost(dtype=torch.float32)
    start = torch.cat([parameter.detach().flatten() for parameter in host.parameters])
    outcome = _search(host, _settings(loss_tolerance=math.inf))
    assert outcome.chosen is not None
    noise = torch.empty(len(start)).uniform_(-0.05, 0.05, generator=generator_of(0)(outcome.chosen))
    end = torch.cat([parameter.detach().flatten() for parameter in host.parameters])
    assert torch.equal(end, start + noise)
    assert outcome.distance == pytest.approx(float((end.double() - start.double()).norm()), rel=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_search_replays_bit_for_bit(variant: str) -> None:
    hosts = [ToyHost(dtype=torch.float32, batch_norm=True) for _ in range(2)]
    first, second = (_search(host, _settings(variant)) for host in hosts)
    assert first == second
    assert _same(_snapshot(hosts[0]), _snapshot(hosts[1]))


def test_an_error_while_scoring_puts_the_weights_back() -> None:
    host = ToyHost(batch_norm=True)
    before = _snapshot(host)
    with pytest.raises(RuntimeError, match="out of memory"):
        _search(host, _settings("released"), model=RecordingModel(host, fails_at=7))
    assert _same(_snapshot(host), before)


def test_one_batch_for_every_domain_is_perfect_agreement() -> None:
    host = ToyHost(one_domain=True, dropout=0.0)
    outcome = _search(host, _settings(loss_tolerance=math.inf))
    assert outcome.before.alignment == pytest.approx(1.0, abs=1e-12)
    assert all(candidate.score.alignment == pytest.approx(1.0, abs=1e-12) for candidate in outcome.candidates)


def test_scaling_one_loss_leaves_the_alignments() -> None:
    plain = _search(ToyHost(), _settings(loss_tolerance=math.inf))
    scaled = _search(ToyHost(loss_scales=(1.0, 1e3, 1.0)), _settings(loss_tolerance=math.inf))
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
    plain = _settings(variant, **({"loss_tolerance": 0.0} if "loss_reference" in change else {}))
    host, changed_host = ToyHost(), ToyHost()
    outcome, changed = _search(host, plain), _search(changed_host, _settings(variant, **change))
    assert outcome.candidates != changed.candidates or outcome.chosen != changed.chosen


def test_featurizer_and_all_move_different_weights() -> None:
    ends = []
    for perturbs in ("all", "featurizer"):
        host = ToyHost()
        start = _snapshot(host)
        _search(host, _settings(perturbs=perturbs, loss_tolerance=math.inf))
        ends.append([not torch.equal(a, b) for a, b in zip(start, _snapshot(host), strict=True)])
    assert ends == [[True, True, True, True], [True, True, False, False]]


def test_one_mask_a_step_serves_every_scoring() -> None:
    host = ToyHost()
    model = RecordingModel(host)
    _search(host, _settings("paper"), model=model)
    assert model.domain_draws == [("step",)] * 3 * 13
    assert model.joint_draws == []
    _search(host, _settings("paper", joint_loss="forward"), model=model)
    assert model.joint_draws == [("step",)] * 13


def test_a_new_mask_at_every_forward_is_named_by_candidate_and_forward() -> None:
    host = ToyHost()
    model = RecordingModel(host)
    _search(host, _settings("released"), model=model)
    names: list[tuple[str | int, ...]] = [("start",), *(("candidate", candidate) for candidate in range(12))]
    assert model.domain_draws == [(*name, domain) for name, domain in itertools.product(names, range(3))]
    assert model.joint_draws == [(*name, 3) for name in names]


def test_a_joint_forward_sees_the_mean_of_equal_batches() -> None:
    mean = _search(ToyHost(), _settings("paper"))
    forward = _search(ToyHost(), _settings("paper", joint_loss="forward"))
    for left, right in zip(mean.candidates, forward.candidates, strict=True):
        assert left.score.loss == pytest.approx(right.score.loss, abs=1e-12)
