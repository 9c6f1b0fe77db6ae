"""MIRO: its loss, its oracle, and the stages that it compares."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from descents import assert_goes_on
from small_runs import batch_norm_featurizer
from tiny_hosts import convolutional_network, tiny_batch, tiny_host
from torch import Tensor, nn

from gga_sweep.algorithms.miro import feature_stages
from gga_sweep.networks.builtin.resnet import resnet
from gga_sweep.networks.network import Network


def features_of(featurizer: nn.Module, images: Tensor, cuts: tuple[int, ...]) -> list[Tensor]:
    """The outputs of the layers of SmallCNN up to these numbers."""
    layers = featurizer.get_submodule("layers")
    return [layers[: cut + 1](images) for cut in cuts]  # type: ignore[index]


def test_a_later_step_descends_the_distance_from_the_features_of_the_start() -> None:
    host = tiny_host("MIRO", convolutional_network(), miro_lambda=0.7)
    start = copy.deepcopy(host.network.featurizer)
    host.update(tiny_batch(0, side=8))
    batch, network = tiny_batch(1, side=8), copy.deepcopy(host.network)
    biases = [each.detach().clone().requires_grad_() for each in host.get_submodule("biases").parameters()]
    assert [each.numel() for each in biases] == [16, 32, 64]
    expected = F.cross_entropy(network(batch.images), batch.labels)
    cuts = (2, 5, 8)  # the ends of the three blocks
    features = [features_of(each, batch.images, cuts) for each in (network.featurizer, start)]
    for ours, its, bias in zip(*features, biases, strict=True):
        variance = torch.log(1 + bias.exp()) + 1e-5
        penalty = ((ours - its.detach()) ** 2 / variance + variance.log()).mean() / 2
        expected = expected + 0.7 * penalty
    slopes = torch.autograd.grad(expected, [*network.parameters(), *biases])
    assert float(host.update(batch)) == pytest.approx(float(expected.detach()), rel=1e-10)
    followed = [*host.network.parameters(), *host.get_submodule("biases").parameters()]
    for parameter, slope in zip(followed, slopes, strict=True):
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-8, atol=1e-11)


def test_the_first_penalty_is_that_of_a_variance_of_a_tenth() -> None:
    """Nothing has moved yet, so half the logarithm is left, of each stage."""
    batch = tiny_batch(side=8)
    plain = float(tiny_host("ERM", convolutional_network()).update(batch))
    found = float(tiny_host("MIRO", convolutional_network(), miro_lambda=1.0).update(batch))
    assert found - plain == pytest.approx(3 * math.log(0.1) / 2, rel=1e-9)


def test_the_oracle_stays_as_it_was_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    network = Network(*batch_norm_featurizer((1, 4, 4)), 3).double()
    host = tiny_host("MIRO", network)
    before = {name: each.clone() for name, each in host.get_submodule("oracle").state_dict().items()}
    for step in range(3):
        host.train().update(tiny_batch(step))
    after = host.get_submodule("oracle").state_dict()
    assert all(torch.equal(after[name], each) for name, each in before.items())
    assert not any(module.training for module in host.get_submodule("oracle").modules())
    assert not torch.equal(dict(network.featurizer.named_buffers())["1.running_mean"], before["1.running_mean"])


def test_the_variances_learn_at_their_own_rate() -> None:
    host = tiny_host("MIRO", convolutional_network(), miro_lr_mult=3.0)
    before = [each.detach().clone() for each in host.get_submodule("biases").parameters()]
    host.update(tiny_batch(side=8))
    for then, now in zip(before, host.get_submodule("biases").parameters(), strict=True):
        torch.testing.assert_close((now.detach() - then).abs(), torch.full_like(then, 3e-2), rtol=1e-4, atol=0)


def test_it_goes_on_after_a_resume() -> None:
    batches = [tiny_batch(step, side=8) for step in range(3)]
    assert_goes_on(lambda: tiny_host("MIRO", convolutional_network()), batches)


class Tokens(nn.Module):
    """Images to tokens (n, tokens, channels) to features, as a vision transformer; timm describes its blocks so."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Unflatten(2, (2, 2))
        self.blocks = nn.ModuleList([nn.Linear(2, 6), nn.Linear(6, 5)])
        self.feature_info = [{"module": "blocks.0"}, {"module": "blocks.1"}]

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(1).unflatten(1, (8, 2))
        return self.blocks[1](self.blocks[0](tokens).tanh()).mean(1)  # type: ignore[no-any-return]


def test_stages_are_named_by_the_featurizer_or_by_timm_or_are_the_whole() -> None:
    made, _ = resnet("resnet18", (3, 32, 32), None)
    assert feature_stages(made) == [made.maxpool, made.layer1, made.layer2, made.layer3, made.layer4]
    tokens = Tokens().double()
    assert feature_stages(tokens) == list(tokens.blocks)
    plain = nn.Flatten()
    assert feature_stages(plain) == [plain]


def test_each_channel_of_tokens_has_a_variance() -> None:
    torch.manual_seed(0)
    host = tiny_host("MIRO", Network(Tokens(), 5, 3).double())
    assert [tuple(each.shape) for each in host.get_submodule("biases").parameters()] == [(1, 1, 6), (1, 1, 5)]
    assert math.isfinite(float(host.update(tiny_batch())))
