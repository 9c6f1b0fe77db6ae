"""A scoring replayed as a CUDA graph, tried with recordings that need no device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy_model import ToyModel, fixed_choice, generator_of

from gga_sweep.annealing import GGA, Draw, DrawOf, SearchOutcome, search_step
from gga_sweep.annealing.graphs import GraphedMeasure
from gga_sweep.networks.network import build_network

Measure = Callable[[], Tensor]


def _settings(**changes: object) -> GGA:
    numbers = {"start_step": 0, "num_steps": 1, "radius": 0.05, "num_candidates": 12}
    return GGA.of_variant("paper", **{**numbers, **changes})


class Counted:
    """Measures a weight, and counts how often."""

    def __init__(self) -> None:
        self.weight = torch.zeros(2, dtype=torch.float64)
        self.calls = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        return 2 * self.weight


def faithful(counted: Counted) -> Callable[[Measure], Measure]:
    """A recording that replays what was recorded, without the Python around it."""
    return lambda _: lambda: 2 * counted.weight


def stale(_: Measure) -> Measure:
    """A recording that read its input once and for all."""
    return lambda: torch.zeros(2, dtype=torch.float64)


def test_a_faithful_recording_takes_the_place_of_the_measurement() -> None:
    counted = Counted()
    graphed = GraphedMeasure(counted, faithful(counted))
    for value in range(6):
        counted.weight.fill_(value)
        assert graphed().tolist() == [2.0 * value] * 2
    assert counted.calls == 2  # at the recording, and at the check of its first replay


def test_a_recording_that_does_not_follow_the_weights_is_found_out() -> None:
    counted = Counted()
    graphed = GraphedMeasure(counted, stale)
    assert graphed().tolist() == [0.0, 0.0]
    counted.weight.fill_(1)
    with pytest.warns(UserWarning, match="does not replay as a CUDA graph; it is computed again"):
        assert graphed().tolist() == [2.0, 2.0]
    counted.weight.fill_(3)
    assert graphed().tolist() == [6.0, 6.0]


def test_a_graph_without_a_cuda_device_is_refused_before_anything_moves() -> None:
    model = ToyModel()
    before = [parameter.detach().clone() for parameter in model.parameters]
    with pytest.raises(ValueError, match="cuda_graph needs the parameters on a CUDA device, they are on cpu"):
        search_step(
            model,
            model.parameters,
            model.parameters,
            [],
            generator_of(0),
            fixed_choice(),
            _settings(cuda_graph=True),
        )
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters, strict=True))


class CudaModel:
    """SmallCNN on a CUDA device, with its minibatches there."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.module: nn.Module = build_network("small-cnn", (1, 28, 28), 5, None, generator).cuda().train()
        self.n_domains, self.rows = 3, [16] * 3
        self._images = torch.rand(48, 1, 28, 28, generator=generator).cuda()
        self._labels = torch.randint(5, (48,), generator=generator).cuda()

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        rows = slice(16 * domain, 16 * domain + 16)
        return F.cross_entropy(self.module(self._images[rows]), self._labels[rows])

    def domain_losses(self, draw_of: DrawOf) -> Tensor:
        parts = zip(self.module(self._images).split(16), self._labels.split(16), strict=True)
        return torch.stack([F.cross_entropy(*part) for part in parts])

    def joint_loss(self, draw: Draw) -> Tensor:
        return F.cross_entropy(self.module(self._images), self._labels)


@pytest.mark.gpu
@pytest.mark.parametrize("domain_gradients", ["loop", "layerwise"])
def test_a_graph_finds_what_the_search_finds_without_it(domain_gradients: str) -> None:
    def search(cuda_graph: bool) -> SearchOutcome:
        model = CudaModel()
        parameters = list(model.module.parameters())
        settings = _settings(domain_gradients=domain_gradients, cuda_graph=cuda_graph, radius=1e-3)
        noise = torch.Generator("cuda").manual_seed
        return search_step(model, parameters, parameters, [], noise, torch.Generator, settings)

    plain = search(cuda_graph=False)
    assert search(cuda_graph=True) == plain
    assert plain.accepted > 0
