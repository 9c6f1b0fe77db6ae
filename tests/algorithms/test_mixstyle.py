"""MixStyle against features renormalised image by image and channel by channel."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from descents import assert_descends, assert_same
from tiny_hosts import convolutional_network, linear_network, tiny_batch, tiny_host
from torch import nn

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.mixstyle import mix_styles, style_stages
from gga_sweep.annealing.layerwise import LayerwiseGradients
from gga_sweep.errors import InputError
from gga_sweep.networks.network import Network, build_network
from gga_sweep.seeding import stream

P, ALPHA = 0.5, 0.1


class Staged(nn.Module):
    """Two linear stages, of 3 and 2 channels, then 5 features."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 2, 3, padding=1)
        self.last = nn.Linear(32, 5)
        self.style_stages = [self.first, self.second]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.last(self.second(self.first(images)).flatten(1))
        return features


def staged_network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network(Staged(), 5, 3).double()


def host_of(network: Callable[[], Network] = staged_network, **changes: float) -> Algorithm:
    return tiny_host("MixStyle", network(), **{"mixstyle_p": P, "mixstyle_alpha": ALPHA, **changes})


def restyled(maps: torch.Tensor, step: int, stage: int, p: float, alpha: float) -> torch.Tensor:
    """The paper's equations 4 to 6."""
    numbers = stream("Tiny", 0, "host", step, f"style after stage {stage}")
    if numbers.random() >= p:
        return maps
    others, lams = numbers.permutation(len(maps)), numbers.beta(alpha, alpha, len(maps))

    def style(image: torch.Tensor) -> tuple[float, float]:
        pixels = image.detach().flatten()
        mean = float(sum(pixels) / len(pixels))
        return mean, (float(sum((pixels - mean) ** 2) / len(pixels)) + 1e-6) ** 0.5

    images = []
    for image, other, lam in zip(maps, others, lams, strict=True):
        channels = []
        for mine, its in zip(image, maps[other], strict=True):
            (mean, deviation), (its_mean, its_deviation) = style(mine), style(its)
            gamma = lam * deviation + (1 - lam) * its_deviation
            beta = lam * mean + (1 - lam) * its_mean
            channels.append(gamma * (mine - mean) / deviation + beta)
        images.append(torch.stack(channels))
    return torch.stack(images)


def loss_by_definition(network: Any, batch: Batch, step: int, p: float, alpha: float) -> torch.Tensor:
    parts = network.featurizer
    maps = restyled(parts.first(batch.images), step, 0, p, alpha)
    maps = restyled(parts.second(maps), step, 1, p, alpha)
    features = parts.last(maps.flatten(1))
    return F.cross_entropy(network.classifier(features if batch.mask is None else features * batch.mask), batch.labels)


def stages_that_mix(step: int, p: float) -> list[bool]:
    return [stream("Tiny", 0, "host", step, f"style after stage {stage}").random() < p for stage in range(2)]


ONLY_FIRST, ONLY_SECOND = (
    next(step for step in range(100) if stages_that_mix(step, P) == which) for which in ([True, False], [False, True])
)


@pytest.mark.parametrize(
    ("step", "p", "alpha", "dropout"),
    [(ONLY_FIRST, P, ALPHA, 0.0), (ONLY_SECOND, P, ALPHA, 0.4), (0, 1.0, 0.1, 0.4), (1, 1.0, 2.0, 0.0)],
)
def test_a_step_descends_the_loss_of_mixed_styles(step: int, p: float, alpha: float, dropout: float) -> None:
    batch = tiny_batch(step, dropout=dropout)
    host = host_of(mixstyle_p=p, mixstyle_alpha=alpha)
    assert_descends(host, batch, lambda network: loss_by_definition(network, batch, step, p, alpha))


def test_a_mixed_image_has_the_style_between_the_two() -> None:
    maps = torch.rand(2, 3, 8, 8, dtype=torch.float64) * torch.tensor([1.0, 5.0])[:, None, None, None]
    mixed = mix_styles(maps, torch.tensor([1, 0]), torch.tensor([0.25, 1.0], dtype=torch.float64))
    torch.testing.assert_close(mixed[1], maps[1])
    means, deviations = maps.mean((2, 3)), maps.std((2, 3))
    torch.testing.assert_close(mixed[0].mean((1, 2)), 0.25 * means[0] + 0.75 * means[1])
    expected = 0.25 * deviations[0] + 0.75 * deviations[1]
    torch.testing.assert_close(mixed[0].std((1, 2)), expected, rtol=1e-4, atol=0)


def test_maps_of_one_pixel_take_the_mixed_mean() -> None:
    maps = torch.tensor([[[[1.0]]], [[[3.0]]]])
    assert mix_styles(maps, torch.tensor([1, 0]), torch.tensor([0.5, 0.0])).flatten().tolist() == [2.0, 1.0]


def test_chance_0_is_erm_to_the_bit() -> None:
    mixstyle, erm = host_of(mixstyle_p=0.0), tiny_host("ERM", staged_network())
    for step in range(3):
        assert torch.equal(mixstyle.update(tiny_batch(step)), erm.update(tiny_batch(step)))
    assert_same(mixstyle, erm, tolerance=0)


def test_styles_are_mixed_in_the_update_alone() -> None:
    """In training mode too: a prediction after a step is that of the plain network, and draws nothing."""
    host, plain = host_of(mixstyle_p=1.0), staged_network()
    host.update(tiny_batch())
    plain.load_state_dict(host.network.state_dict())
    batch = tiny_batch(1)
    undrawn = Batch(batch.minibatches, lambda *_: None, lambda _: pytest.fail("draws"))
    assert torch.equal(host.predict(batch.images), plain(batch.images))
    assert torch.equal(host.joint_logits(undrawn, None), plain(batch.images))
    assert torch.equal(host.domain_logits(undrawn, 1, None), plain(batch.minibatches[1].images))


def hooks_of(host: Algorithm) -> list[Any]:
    return [hook for module in host.modules() for hook in module._forward_hooks.values()]


def test_no_hook_stays_not_even_after_an_error() -> None:
    host = host_of(mixstyle_p=1.0)
    host.update(tiny_batch())
    assert hooks_of(host) == []
    broken = tiny_batch()
    broken.images = broken.images[:, :, :2]
    with pytest.raises(RuntimeError, match="shape"):
        host.update(broken)
    assert hooks_of(host) == []


@pytest.mark.parametrize(("network", "side"), [(staged_network, 4), (convolutional_network, 8)])
def test_a_copy_mixes_in_its_own_network(network: Callable[[], Network], side: int) -> None:
    host = host_of(network, mixstyle_p=1.0)
    host.update(tiny_batch(side=side))
    twin = copy.deepcopy(host)
    before = copy.deepcopy(host.state_dict())
    assert torch.equal(twin.update(tiny_batch(1, side=side)), copy.deepcopy(host).update(tiny_batch(1, side=side)))
    torch.testing.assert_close(dict(host.state_dict()), dict(before), rtol=0, atol=0)
    twin_stages = style_stages(twin.network.featurizer)
    assert not set(twin_stages) & set(host.modules())
    assert host.update(tiny_batch(1, side=side)).isfinite()
    assert_same(host, twin, tolerance=0)


def test_gradients_layer_by_layer_see_no_mixing() -> None:
    host, batch = host_of(mixstyle_p=1.0), tiny_batch()
    host.update(batch)
    parameters = host.predict_parameters()
    out = torch.zeros(3, sum(each.numel() for each in parameters), dtype=torch.float64)

    def losses() -> torch.Tensor:
        parts = zip(batch.split(host.joint_logits(batch, None)), batch.minibatches, strict=True)
        return torch.stack([F.cross_entropy(part, each.labels) for part, each in parts])

    LayerwiseGradients(host, parameters, batch.rows).write(losses, out)
    for row, each in zip(out, batch.minibatches, strict=True):
        alone = torch.autograd.grad(F.cross_entropy(host.network(each.images), each.labels), parameters)
        torch.testing.assert_close(row, torch.cat([gradient.flatten() for gradient in alone]))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_resnet_mixes_after_three_of_its_four_layers(name: str) -> None:
    with torch.device("meta"):  # no weights are needed
        featurizer = build_network(name, (3, 32, 32), 3, None, torch.Generator("cpu")).featurizer
    names = [key for stage in style_stages(featurizer) for key, each in featurizer.named_modules() if each is stage]
    assert names == ["layer1", "layer2", "layer3"]


def test_the_small_network_mixes_after_its_first_two_blocks() -> None:
    seen: list[tuple[int, ...]] = []
    network = convolutional_network()
    for stage in style_stages(network.featurizer):
        assert isinstance(stage, nn.ReLU)
        stage.register_forward_hook(lambda _module, _inputs, maps: seen.append(tuple(maps.shape)))
    network(tiny_batch(side=8).images)
    assert seen == [(12, 16, 4, 4), (12, 32, 2, 2)]


def network_naming(stages: Callable[[nn.Sequential], object]) -> Network:
    network = linear_network()
    network.featurizer.style_stages = stages(network.featurizer)  # type: ignore[assignment, arg-type]
    return network


@pytest.mark.parametrize(
    "network",
    [
        linear_network,
        lambda: network_naming(lambda _: []),
        lambda: network_naming(lambda _: "layers"),
        lambda: network_naming(lambda _: 3),
        lambda: network_naming(lambda _: [nn.ReLU()]),
        lambda: network_naming(lambda whole: [whole]),
        lambda: network_naming(lambda whole: whole),
    ],
)
def test_a_featurizer_that_names_no_stages_is_refused(network: Callable[[], Network]) -> None:
    with pytest.raises(InputError, match=r"training\.network: must name, for MixStyle.*style_stages.*'Sequential'"):
        host_of(network)
