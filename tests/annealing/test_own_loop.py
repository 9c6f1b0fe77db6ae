"""Annealing in a training loop that knows nothing of this package but two functions."""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.annealing import (
    GGA,
    GGAL,
    Draw,
    SearchOutcome,
    add_gradient_noise,
    anneal_step,
    search_step,
)

N_DOMAINS = 3
STEP = 4
NUMBERS = {"start_step": STEP, "num_steps": 2, "radius": 0.05, "num_candidates": 12, "loss_tolerance": math.inf}


class RecordingDropout(nn.Module):
    """Dropout by torch's global generator that keeps its masks."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.masks: list[Tensor] = []

    def forward(self, features: Tensor) -> Tensor:
        mask = F.dropout(torch.ones_like(features), self.rate)
        self.masks.append(mask)
        return features * mask


class Loop:
    """A user's training loop: a regression, with dropout and batch norm, on random minibatches of each step."""

    def __init__(self, rate: float = 0.5) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.dropout = RecordingDropout(rate)
            self.featurizer = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), self.dropout)
            self.classifier = nn.Linear(6, 2)
            self.model = nn.Sequential(self.featurizer, self.classifier).double()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2)
        self.draw_minibatches(STEP)

    def draw_minibatches(self, step: int) -> None:
        generator = torch.Generator().manual_seed(step)
        self.inputs, self.targets = (
            [torch.randn(5, width, generator=generator, dtype=torch.float64) for _ in range(N_DOMAINS)]
            for width in (4, 2)
        )

    def domain_loss(self, domain: int) -> Tensor:
        return F.mse_loss(self.model(self.inputs[domain]), self.targets[domain])

    def joint_loss(self) -> Tensor:
        return F.mse_loss(self.model(torch.cat(self.inputs)), torch.cat(self.targets))

    def anneal(self, settings: GGA, step: int = STEP, *, seed: int = 0) -> SearchOutcome | None:
        return anneal_step(
            self.model,
            self.domain_loss,
            N_DOMAINS,
            settings,
            step,
            seed=seed,
            featurizer=self.featurizer,
            joint_loss=self.joint_loss,
        )

    def search(self, settings: GGA, *, seed: int = 0) -> SearchOutcome:
        outcome = self.anneal(settings, seed=seed)
        assert outcome is not None
        return outcome

    def backward(self) -> None:
        self.optimizer.zero_grad()
        self.joint_loss().backward()

    def weights(self) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.model.parameters()])

    def gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]

    def gradient(self) -> Tensor:
        return torch.cat(
            [parameter.grad.flatten() for parameter in self.model.parameters() if parameter.grad is not None]
        )

    def state(self) -> list[Tensor]:
        """All that a function of the annealing might change, copied."""
        optimizer = [tensor for state in self.optimizer.state.values() for tensor in state.values()]
        tensors = [*self.model.state_dict().values(), *self.gradients(), *optimizer, torch.get_rng_state()]
        return [tensor.clone() for tensor in tensors]


class SearchedByHand:
    """The same loop handed to `search_step` itself, every draw seeded by the name of what it is for."""

    n_domains = N_DOMAINS

    def __init__(self, loop: Loop, seed: int) -> None:
        self._loop, self._seed = loop, seed

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        torch.manual_seed(_seed_of(self._seed, STEP, "global", *draw, domain))
        return self._loop.domain_loss(domain)

    def joint_loss(self, draw: Draw) -> Tensor:
        torch.manual_seed(_seed_of(self._seed, STEP, "global", *draw, N_DOMAINS))
        return self._loop.joint_loss()

    def search(self, settings: GGA) -> SearchOutcome:
        loop = self._loop
        return search_step(
            self,
            list(loop.model.parameters()),
            list((loop.featurizer if settings.perturbs == "featurizer" else loop.model).parameters()),
            list(loop.model.buffers()),
            lambda candidate: _generator_of(self._seed, STEP, "perturbation", candidate),
            lambda: _generator_of(self._seed, STEP, "choice"),
            settings,
        )


def _seed_of(*name: int | str) -> int:
    return int.from_bytes(hashlib.blake2b(repr(name).encode(), digest_size=8).digest(), "big") >> 1


def _generator_of(*name: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(_seed_of(*name))


def _settings(variant: str = "paper", **changes: object) -> GGA:
    return GGA.of_variant(variant, **{**NUMBERS, **changes})


def _same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def _domain_gradients(loop: Loop, seed: Callable[[int], object] = lambda domain: None) -> list[Tensor]:
    """Each domain's gradient by `backward` on a copy of the loop, the global generators seeded before each forward."""
    found = []
    for domain in range(N_DOMAINS):
        twin = copy.deepcopy(loop)
        twin.optimizer.zero_grad()
        seed(domain)
        twin.domain_loss(domain).backward()
        found.append(twin.gradient())
    return found


def _cosines(gradients: Sequence[Tensor]) -> list[float]:
    return [F.cosine_similarity(a, b, dim=0).item() for a, b in itertools.combinations(gradients, 2)]


@pytest.mark.parametrize("variant", ["paper", "released", "guided"])
@pytest.mark.parametrize("objective", ["alignment", "none", "anti", "loss"])
def test_an_annealed_step_is_the_search_done_by_hand(variant: str, objective: str) -> None:
    settings = _settings(variant, objective=objective)
    loop, by_hand = Loop(), Loop()
    outcome, expected = loop.search(settings, seed=3), SearchedByHand(by_hand, seed=3).search(settings)
    assert outcome == expected
    assert outcome.accepted > 0
    assert _same(loop.state(), by_hand.state())


def test_the_weights_move_to_where_the_domains_agree_more() -> None:
    loop = Loop(rate=0.0)
    start = loop.weights()
    before = min(_cosines(_domain_gradients(loop)))
    outcome = loop.search(_settings())
    after = min(_cosines(_domain_gradients(loop)))
    assert outcome.before.alignment == pytest.approx(before, abs=1e-12)
    assert outcome.after.alignment == pytest.approx(after, abs=1e-12)
    assert after > before
    assert 0.04 < float((loop.weights() - start).abs().max()) <= 0.05


@pytest.mark.parametrize("variant", ["paper", "released", "guided"])
def test_an_annealed_step_changes_the_weights_alone(variant: str) -> None:
    loop = Loop()
    loop.backward()
    loop.optimizer.step()
    weights, others = loop.weights(), _without_weights(loop)
    assert loop.search(_settings(variant)).accepted > 0
    assert not torch.equal(loop.weights(), weights)
    assert _same(_without_weights(loop), others)


def _without_weights(loop: Loop) -> list[Tensor]:
    return loop.state()[len(loop.model.state_dict()) :] + [buffer.clone() for buffer in loop.model.buffers()]


@pytest.mark.parametrize("step", [0, STEP - 1, STEP + 2, 1000])
def test_outside_the_window_nothing_happens(step: int) -> None:
    loop = Loop()
    loop.backward()
    before, forwards = loop.state(), len(loop.dropout.masks)
    assert loop.anneal(_settings(), step) is None
    assert _same(loop.state(), before)
    assert len(loop.dropout.masks) == forwards


def _trained(settings: GGA | None) -> Loop:
    loop = Loop()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for step in range(2 * STEP):
            loop.draw_minibatches(step)
            if settings is not None:
                loop.anneal(settings, step)
            loop.backward()
            loop.optimizer.step()
    return loop


@pytest.mark.parametrize("variant", ["paper", "released", "guided"])
def test_training_without_accepted_candidates_equals_plain_training(variant: str) -> None:
    unannealed = _trained(None).state()
    assert _same(_trained(_settings(variant, loss_tolerance=-math.inf)).state(), unannealed)
    assert not _same(_trained(_settings(variant)).state(), unannealed)


def _masks_of_each_scoring(mask: str) -> list[list[Tensor]]:
    loop = Loop()
    outcome = loop.search(_settings(mask=mask))
    masks = loop.dropout.masks
    assert len(masks) == N_DOMAINS * (1 + outcome.tried)
    return [masks[first : first + N_DOMAINS] for first in range(0, len(masks), N_DOMAINS)]


def test_all_candidates_of_a_step_share_one_dropout_mask_per_domain() -> None:
    first, *others = _masks_of_each_scoring("step")
    assert all(_same(scoring, first) for scoring in others)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(first, 2))


def test_a_mask_at_every_forward_is_another_one_each_time() -> None:
    masks = list(itertools.chain.from_iterable(_masks_of_each_scoring("forward")))
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(masks, 2))


def test_masks_do_not_depend_on_the_state_of_the_global_generator() -> None:
    loops = [Loop(), Loop()]
    outcomes = []
    for number, loop in enumerate(loops):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            outcomes.append(loop.search(_settings("released")))
    assert outcomes[0] == outcomes[1]


def test_another_seed_is_another_search() -> None:
    assert Loop().search(_settings(), seed=1) != Loop().search(_settings())


def test_another_step_is_another_search() -> None:
    assert Loop().anneal(_settings(), STEP + 1) != Loop().anneal(_settings())


def test_only_the_featurizer_moves_where_it_alone_should() -> None:
    loop, start = Loop(), Loop()
    assert loop.search(_settings(perturbs="featurizer")).accepted > 0
    assert _same(list(loop.classifier.parameters()), list(start.classifier.parameters()))
    assert not _same(list(loop.featurizer.parameters()), list(start.featurizer.parameters()))


def test_a_frozen_parameter_neither_moves_nor_counts() -> None:
    loop, frozen = Loop(rate=0.0), Loop(rate=0.0)
    for parameter in frozen.classifier.parameters():
        parameter.requires_grad_(False)
    outcome = frozen.search(_settings())
    assert _same(list(frozen.classifier.parameters()), list(loop.classifier.parameters()))
    size = sum(parameter.numel() for parameter in loop.featurizer.parameters())
    gradients = [gradient[:size] for gradient in _domain_gradients(loop)]
    assert outcome.before.alignment == pytest.approx(min(_cosines(gradients)), abs=1e-12)


def test_two_domains_are_enough() -> None:
    loop = Loop()
    outcome = anneal_step(loop.model, loop.domain_loss, 2, _settings(), STEP)
    assert outcome is not None
    assert outcome.accepted > 0


def _float32_loop() -> Loop:
    loop = Loop(rate=0.0)
    loop.model.float()
    loop.inputs, loop.targets = ([tensor.float() for tensor in column] for column in (loop.inputs, loop.targets))
    return loop


def test_autocast_around_the_whole_step_does_not_reach_the_search() -> None:
    without, around = _float32_loop(), _float32_loop()
    half = torch.autocast("cpu", torch.bfloat16)
    settings = _settings(joint_loss="forward")
    expected = without.anneal(settings)
    half(without.joint_loss)().backward()
    with half:
        around.joint_loss()  # leaves casts of the weights in autocast's cache
        found = around.anneal(settings)
        around.joint_loss().backward()
        assert torch.is_autocast_enabled("cpu")
    assert found == expected
    assert torch.equal(around.gradient(), without.gradient())


def test_autocast_around_does_not_reach_the_disagreement_of_gga_l() -> None:
    without, around = _float32_loop(), _float32_loop()
    alphas = []
    for loop, autocast in ((without, False), (around, True)):
        loop.joint_loss().backward()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            alphas.append(add_gradient_noise(loop.model, loop.domain_loss, N_DOMAINS, GGAL(gamma=0.1), STEP))
    assert alphas[0] == alphas[1]
    assert torch.equal(around.gradient(), without.gradient())


def test_a_loss_that_enters_autocast_itself_is_scored_in_it() -> None:
    exact, within, around = (_float32_loop() for _ in range(3))
    half = torch.autocast("cpu", torch.bfloat16)
    settings = _settings()
    expected = anneal_step(within.model, half(within.domain_loss), N_DOMAINS, settings, STEP)
    with half:
        around.joint_loss()
        found = anneal_step(around.model, half(around.domain_loss), N_DOMAINS, settings, STEP)
    assert found == expected != exact.anneal(settings)


def test_an_error_of_the_loss_puts_the_weights_back() -> None:
    loop = Loop()
    before = loop.state()

    def failing_loss(domain: int) -> Tensor:
        if len(loop.dropout.masks) > 2 * N_DOMAINS:
            raise RuntimeError("the device went away")
        return loop.domain_loss(domain)

    with pytest.raises(RuntimeError, match="went away"):
        anneal_step(loop.model, failing_loss, N_DOMAINS, _settings(), STEP)
    assert _same(loop.state(), before)


@pytest.mark.parametrize("step", [0, STEP])
def test_all_arguments_that_conflict_with_the_options_are_named_at_every_step(step: int) -> None:
    loop = Loop()
    settings = _settings("released", domain_gradients="layerwise")
    with pytest.raises(ValueError, match="n_domains must be at least 2") as caught:
        anneal_step(loop.model, loop.domain_loss, 1, settings, step)
    faults = str(caught.value).split("; ")
    assert [fault.split()[0] for fault in faults] == ["n_domains", "domain_gradients", "joint_loss", "featurizer"]
    assert "must be 'loop' here" in faults[1]
    assert "or set joint_loss to 'mean'" in faults[2]
    assert "or set perturbs to 'all'" in faults[3]


def test_a_featurizer_of_another_model_is_refused() -> None:
    loop = Loop()
    with pytest.raises(ValueError, match=r"featurizer must be a part of the model.*got 'Sequential'"):
        anneal_step(
            loop.model,
            loop.domain_loss,
            N_DOMAINS,
            _settings(perturbs="featurizer"),
            STEP,
            featurizer=Loop().featurizer,
        )


def test_a_frozen_featurizer_is_a_fault_only_within_the_window() -> None:
    loop = Loop()
    loop.featurizer.requires_grad_(False)
    settings = _settings(perturbs="featurizer")
    assert loop.anneal(settings, 0) is None
    with pytest.raises(ValueError, match="featurizer must have a parameter that requires a gradient"):
        loop.anneal(settings)


def test_a_model_with_nothing_to_train_is_refused() -> None:
    loop = Loop()
    loop.model.requires_grad_(False)
    with pytest.raises(ValueError, match="model must have a parameter that requires a gradient"):
        loop.anneal(_settings())
    with pytest.raises(ValueError, match="model must have a parameter that requires a gradient"):
        _add_noise(loop)


def _add_noise(loop: Loop, step: int = 0, *, seed: int = 0, **changes: object) -> float:
    settings = GGAL.of_mapping(changes)
    return add_gradient_noise(loop.model, loop.domain_loss, N_DOMAINS, settings, step, seed=seed)


def _xi(noise: str, size: int, generator: torch.Generator) -> Tensor:
    if noise == "gaussian":
        return torch.randn(size, generator=generator, dtype=torch.float64)
    shift = 0.5 if noise == "uniform-centred" else 0.0
    return torch.rand(size, generator=generator, dtype=torch.float64) - shift


@pytest.mark.parametrize("noise", ["gaussian", "uniform", "uniform-centred"])
@pytest.mark.parametrize("alpha", ["adaptive", "constant"])
def test_the_gradient_gets_alpha_times_xi(noise: str, alpha: str) -> None:
    loop = Loop()
    loop.backward()
    gradient = loop.gradient()
    with torch.random.fork_rng(devices=[]):
        cosines = _cosines(
            _domain_gradients(loop, lambda domain: torch.manual_seed(_seed_of(5, 7, "global", "step", domain)))
        )
    disagreement = 1 - sum(cosines) / len(cosines) if alpha == "adaptive" else 1.0
    found = _add_noise(loop, 7, seed=5, gamma=0.1, noise=noise, alpha=alpha)
    assert found == pytest.approx(0.1 * disagreement, rel=1e-12)
    added = 0.1 * disagreement * _xi(noise, len(gradient), _generator_of(5, 7, "gradient-noise"))
    torch.testing.assert_close(loop.gradient(), gradient + added, rtol=0, atol=1e-14)


def test_noise_on_the_gradient_changes_the_gradient_alone() -> None:
    loop = Loop()
    loop.backward()
    gradient, others = loop.gradient(), _without_gradients(loop)
    _add_noise(loop)
    assert not torch.equal(loop.gradient(), gradient)
    assert _same(_without_gradients(loop), others)


def _without_gradients(loop: Loop) -> list[Tensor]:
    twin = copy.deepcopy(loop)
    twin.optimizer.zero_grad()
    return twin.state()


def test_a_parameter_without_a_gradient_gets_no_noise() -> None:
    loop = Loop()
    loop.backward()
    loop.classifier.bias.grad = None
    _add_noise(loop)
    assert loop.classifier.bias.grad is None


def test_domains_that_agree_fully_get_no_noise() -> None:
    loop = Loop(rate=0.0)
    loop.inputs, loop.targets = [loop.inputs[0]] * N_DOMAINS, [loop.targets[0]] * N_DOMAINS
    loop.backward()
    gradient = loop.gradient()
    assert _add_noise(loop) == pytest.approx(0.0, abs=1e-15)
    torch.testing.assert_close(loop.gradient(), gradient, rtol=0, atol=1e-14)


def test_constant_alpha_needs_no_forward() -> None:
    loop = Loop()
    loop.backward()
    forwards = len(loop.dropout.masks)
    _add_noise(loop, alpha="constant")
    assert len(loop.dropout.masks) == forwards


@pytest.mark.parametrize(
    "change", [{"step": 1}, {"seed": 1}, {"gamma": 0.1}, {"noise": "uniform"}, {"alpha": "constant"}]
)
def test_each_argument_changes_the_noise(change: dict[str, object]) -> None:
    gradients = []
    for arguments in ({}, change):
        loop = Loop()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            loop.backward()
        _add_noise(loop, **arguments)  # type: ignore[arg-type]
        gradients.append(loop.gradient())
    assert not torch.equal(*gradients)


def test_noise_refuses_what_it_cannot_compare() -> None:
    loop = Loop()
    settings = GGAL(domain_gradients="layerwise")
    with pytest.raises(ValueError, match=r"n_domains must be at least 2.*domain_gradients must be 'loop' here"):
        add_gradient_noise(loop.model, loop.domain_loss, 1, settings, 0)
