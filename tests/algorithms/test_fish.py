"""Fish against a clone of the network that an Adam of torch's trains on one domain after the other."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from descents import assert_goes_on, assert_same
from tiny_hosts import FEATURES, tiny_batch, tiny_host
from torch import Tensor, nn

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network


class ByDefinition:
    """A clone is made anew at each step; the state of its optimiser is carried over."""

    def __init__(self, network: Network, meta_lr: float, weight_decay: float = 0.0) -> None:
        self.network = copy.deepcopy(network)
        self.meta_lr, self.weight_decay = meta_lr, weight_decay
        self.carried: dict[str, object] | None = None

    def step(self, batch: Batch) -> float:
        inner = copy.deepcopy(self.network)
        adam = torch.optim.Adam(inner.parameters(), lr=1e-2, weight_decay=self.weight_decay)
        if self.carried is not None:
            adam.load_state_dict(self.carried)
        losses = []
        for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True):
            loss = F.cross_entropy(inner(minibatch.images, mask), minibatch.labels)
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(float(loss.detach()))
        self.carried = copy.deepcopy(adam.state_dict())
        there = inner.state_dict()
        self.network.load_state_dict(
            {name: here + self.meta_lr * (there[name] - here) for name, here in self.network.state_dict().items()}
        )
        return sum(losses) / len(losses)


def with_batch_norm() -> Network:
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(16, FEATURES), nn.BatchNorm1d(FEATURES)), FEATURES, 3)
    for index, parameter in enumerate(network.parameters()):
        generator = torch.Generator().manual_seed(index)
        parameter.data = torch.rand(parameter.shape, generator=generator) - 0.5
    return network.double()


def state_of(network: Network) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if value.is_floating_point()}


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(("meta_lr", "weight_decay"), [(0.5, 0.0), (0.05, 0.1), (1.0, 0.0)])
def test_a_step_goes_part_of_the_way_of_an_adam_over_the_domains_in_order(
    meta_lr: float, weight_decay: float, dropout: float
) -> None:
    host = tiny_host("Fish", fish_meta_lr=meta_lr, weight_decay=weight_decay)
    reference = ByDefinition(host.network, meta_lr, weight_decay)
    for step in range(3):
        batch = tiny_batch(step, dropout=dropout)
        loss, expected = host.update(batch), reference.step(batch)
        assert not loss.requires_grad
        assert float(loss) == pytest.approx(expected, rel=1e-9)
        torch.testing.assert_close(state_of(host.network), state_of(reference.network), rtol=1e-9, atol=1e-10)


def test_statistics_of_batch_norm_go_the_same_part_of_the_way() -> None:
    host = tiny_host("Fish", with_batch_norm(), fish_meta_lr=0.3)
    reference, before = ByDefinition(host.network, 0.3), state_of(copy.deepcopy(host.network))
    for step in range(2):
        host.update(tiny_batch(step))
        reference.step(tiny_batch(step))
    found = state_of(host.network)
    torch.testing.assert_close(found, state_of(reference.network), rtol=1e-9, atol=1e-10)
    assert not torch.equal(found["featurizer.2.running_mean"], before["featurizer.2.running_mean"])


def test_none_of_the_way_moves_nothing_but_adams_moments() -> None:
    host = tiny_host("Fish", with_batch_norm(), fish_meta_lr=0.0)
    before = state_of(copy.deepcopy(host.network))
    host.update(tiny_batch())
    assert all(torch.equal(value, before[name]) for name, value in state_of(host.network).items())
    assert {float(state["step"]) for state in host.optimizer.state.values()} == {3.0}


def test_all_of_the_way_on_one_domain_is_erm() -> None:
    fish, erm = tiny_host("Fish", n_domains=1, fish_meta_lr=1.0), tiny_host("ERM", n_domains=1)
    for step in range(3):
        batch = tiny_batch(step, n_domains=1, dropout=0.3)
        assert torch.equal(fish.update(batch), erm.update(batch))
    assert_same(fish, erm, tolerance=0)


def test_the_optimiser_stays_the_same_object() -> None:
    host = tiny_host("Fish")
    optimizer = host.optimizer
    host.update(tiny_batch())
    assert host.optimizer is optimizer
    assert list(host.optimizers().values()) == [optimizer]


def test_it_goes_on_from_its_state() -> None:
    assert_goes_on(lambda: tiny_host("Fish", with_batch_norm()), [tiny_batch(step) for step in range(3)])
