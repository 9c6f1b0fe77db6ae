"""What a search costs: passes through the network, memory, and waits for the device."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from image_model import ImageModel
from straightforward import score
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from toy_model import ToyModel, fixed_choice, generator_of

import gga_sweep.annealing.search
from gga_sweep.annealing import GGA, STEP_MASK, Draw, DrawOf, Scorer, search_step

CONVOLUTIONS = 3  # of a SmallCNN


def _settings(variant: str, **changes: object) -> GGA:
    numbers = {"start_step": 0, "num_steps": 1, "radius": 1e-3, "num_candidates": 4}
    return GGA.of_variant(variant, **{**numbers, **changes})


def _passes(task: Callable[[], object]) -> tuple[float, float]:
    """Forwards, and backwards by autograd, in convolutions of each layer."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        task()
    counts = {event.key: event.count for event in profiled.key_averages()}
    backwards = counts["ConvolutionBackward0"]
    return counts["aten::conv2d"] / CONVOLUTIONS, backwards / CONVOLUTIONS


def _scoring(method: str, joint_loss: str) -> Callable[[], object]:
    model = ImageModel()
    scorer = Scorer(model, model.parameters, [], method)
    return lambda: scorer.measure(lambda _: STEP_MASK, joint_loss)


def test_the_loop_makes_a_forward_and_a_backward_for_each_domain() -> None:
    assert _passes(_scoring("loop", "mean")) == (ImageModel.n_domains, ImageModel.n_domains)


def test_layerwise_makes_one_forward_and_one_backward() -> None:
    assert _passes(_scoring("layerwise", "mean")) == (1, (CONVOLUTIONS - 1) / CONVOLUTIONS)


@pytest.mark.parametrize("method", ["loop", "layerwise"])
def test_a_joint_loss_of_its_own_is_one_forward_more(method: str) -> None:
    forwards, backwards = _passes(_scoring(method, "mean"))
    assert _passes(_scoring(method, "forward")) == (forwards + 1, backwards)


def test_the_straightforward_form_makes_a_forward_more_than_domains() -> None:
    model = ImageModel()
    passes = _passes(lambda: score(model, _settings("paper", joint_loss="forward"), ("start",)))
    assert passes == (ImageModel.n_domains + 1, ImageModel.n_domains)


class LinearModel:
    """Layers so wide, and minibatches so small, that memory is that of parameters."""

    n_domains = 3
    rows = (2, 2, 2)

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        layers = [nn.Linear(300, 300) for _ in range(4)]
        self.module = nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())])
        for parameter in self.module.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)
        self.images = torch.randn(6, 300, generator=generator)

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        images = self.images.split(self.rows)[domain]
        return F.cross_entropy(self.module(images), torch.tensor([0, 1]))

    def domain_losses(self, draw_of: DrawOf) -> Tensor:
        parts = self.module(self.images).split(self.rows)
        return torch.stack([F.cross_entropy(part, torch.tensor([0, 1])) for part in parts])

    def joint_loss(self, draw: Draw) -> Tensor:
        raise AssertionError("the mean was computed")


def _peak_bytes(task: Callable[[], object]) -> int:
    """The most that was held at once, beyond what there was before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        task()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _peak_copies(variant: str, method: str, num_candidates: int) -> float:
    """The peak of a search that tries all its candidates, in copies of the parameters."""
    model = LinearModel()
    weights = list(model.module.parameters())
    settings = _settings(
        variant,
        num_candidates=num_candidates,
        loss_tolerance=-math.inf if variant == "guided" else math.inf,
        domain_gradients=method,
    )
    peak = _peak_bytes(lambda: search_step(model, weights, weights, [], generator_of(0), fixed_choice(), settings))
    return peak / sum(4 * parameter.numel() for parameter in weights)


@pytest.mark.parametrize("method", ["loop", "layerwise"])
@pytest.mark.parametrize(("variant", "signs"), [("paper", 0.0), ("guided", 0.25)])
def test_memory_of_a_search_does_not_depend_on_the_candidates(
    variant: str, signs: float, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the gradients: the start, and the noise or the gradient just made; of guided also its signs, a byte each.

    What is taken to float64 a chunk at a time is small beside a real network: here the chunks are made small.
    """
    monkeypatch.setattr("gga_sweep.annealing.flat.CHUNK", 1 << 12)
    few, many = (_peak_copies(variant, method, num_candidates) for num_candidates in (2, 8))
    assert few < LinearModel.n_domains + 2 + signs + 0.05
    assert many == pytest.approx(few, abs=0.02)


class ScalarReads(TorchDispatchMode):
    """Counts the numbers read from tensors: on a device each would be a wait."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += operation is torch.ops.aten._local_scalar_dense.default
        return operation(*args, **(kwargs or {}))


def _reads(num_candidates: int, monkeypatch: pytest.MonkeyPatch, **changes: object) -> tuple[int, int]:
    """How often scores are read in one search, and other numbers."""
    reads = []
    read_scores = gga_sweep.annealing.search.read_scores

    def counted(measured: list[Tensor]) -> object:
        reads.append(len(measured))
        return read_scores(measured)

    model = ToyModel()
    settings = _settings("paper", num_candidates=num_candidates, loss_tolerance=-math.inf, **changes)
    with monkeypatch.context() as patch, ScalarReads() as scalars:
        patch.setattr(gga_sweep.annealing.search, "read_scores", counted)
        search_step(model, model.parameters, model.parameters, [], generator_of(0), fixed_choice(), settings)
    assert sum(reads) == 1 + num_candidates
    return len(reads), scalars.count


@pytest.mark.parametrize("method", ["loop", "layerwise"])
def test_independent_candidates_are_read_at_once(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (_reads(candidates, monkeypatch, domain_gradients=method) for candidates in (4, 40))
    assert few == many
    assert few[0] == 2  # the start, and all candidates


@pytest.mark.parametrize("origin", ["current", "accepted"])
def test_candidates_that_depend_on_a_decision_are_read_one_by_one(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _reads(4, monkeypatch, origin=origin)[0] == 1 + 4
