"""ERM against a step written from its definition."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from gga_sweep.algorithms.base import Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.erm import ERM
from gga_sweep.datasets import Minibatch
from gga_sweep.networks.network import Network, build_network, dropout_mask
from gga_sweep.records import Scalar

HYPERPARAMETERS: dict[str, Scalar] = {"lr": 3e-3, "batch_size": 4, "weight_decay": 0.1, "dropout": 0.5}


def host(**changes: Scalar) -> ERM:
    network = build_network("small-cnn", (1, 8, 8), 3, None, torch.Generator().manual_seed(0))
    return ERM(network, {**HYPERPARAMETERS, **changes}, Setting(2, 3, (1, 8, 8), "Small", 0))


def minibatches(step: int, sizes: tuple[int, ...] = (4, 4)) -> list[Minibatch]:
    numbers = torch.Generator().manual_seed(step)
    return [
        Minibatch(torch.rand(n, 1, 8, 8, generator=numbers), torch.randint(3, (n,), generator=numbers)) for n in sizes
    ]


def as_batch(minibatches: list[Minibatch], mask: torch.Tensor | None = None) -> Batch:
    rows = [len(minibatch.labels) for minibatch in minibatches]
    masks = None if mask is None else torch.split(mask, rows)

    def draw_mask(domain: int, _forward: int) -> torch.Tensor | None:
        return None if masks is None else masks[domain]

    return Batch(minibatches, draw_mask, lambda _: pytest.fail("draws"))


def mask_of(step: int, network: Network) -> torch.Tensor | None:
    return dropout_mask(torch.Generator().manual_seed(100 + step), 8, network.features, 0.5, torch.device("cpu"))


def reference_adam_step(
    weights: list[torch.Tensor],
    gradients: list[torch.Tensor],
    moments: list[list[torch.Tensor]],
    step: int,
    lr: float,
    weight_decay: float,
) -> None:
    """Adam with L2 penalty as Kingma and Ba write it (1412.6980, algorithm 1), in double precision."""
    for weight, gradient, (first, second) in zip(weights, gradients, moments, strict=True):
        penalised = gradient.double() + weight_decay * weight
        first.mul_(0.9).add_(0.1 * penalised)
        second.mul_(0.999).add_(0.001 * penalised**2)
        mean, variance = first / (1 - 0.9**step), second / (1 - 0.999**step)
        weight -= lr * mean / (variance.sqrt() + 1e-8)


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.0}, {"lr": 1e-4}])
def test_updates_equal_adams_on_the_concatenated_batch_bit_for_bit(changes: dict[str, Scalar]) -> None:
    algorithm = host(**changes)
    network = copy.deepcopy(algorithm.network)
    optimizer = torch.optim.Adam(
        network.parameters(),
        lr=float({**HYPERPARAMETERS, **changes}["lr"]),
        weight_decay=float({**HYPERPARAMETERS, **changes}["weight_decay"]),
    )
    for step in range(3):
        batch, mask = minibatches(step), mask_of(step, network)
        loss = algorithm.update(as_batch(batch, mask))

        images, labels = torch.cat([m.images for m in batch]), torch.cat([m.labels for m in batch])
        expected = F.cross_entropy(network.classifier(network.featurizer(images) * mask), labels)
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()

        assert torch.equal(loss, expected.detach())
        assert not loss.requires_grad
        for name, weight in network.named_parameters():
            assert torch.equal(algorithm.network.get_parameter(name), weight), name


def test_updates_follow_adams_equations() -> None:
    algorithm = host()
    network = copy.deepcopy(algorithm.network)
    weights = [parameter.detach().double().clone() for parameter in network.parameters()]
    moments = [[torch.zeros_like(weight), torch.zeros_like(weight)] for weight in weights]
    for step in range(3):
        batch, mask = minibatches(step), mask_of(step, network)
        network.load_state_dict(algorithm.network.state_dict())
        images, labels = torch.cat([m.images for m in batch]), torch.cat([m.labels for m in batch])
        log_probabilities = network(images, mask).log_softmax(dim=1)
        loss = -log_probabilities[torch.arange(8), labels].mean()
        gradients = list(torch.autograd.grad(loss, list(network.parameters())))

        algorithm.update(as_batch(batch, mask))
        reference_adam_step(weights, gradients, moments, step + 1, lr=3e-3, weight_decay=0.1)

        for parameter, weight in zip(algorithm.network.parameters(), weights, strict=True):
            assert torch.allclose(parameter.detach().double(), weight, atol=1e-6)


def test_every_image_weighs_the_same_whatever_its_domain() -> None:
    batch = minibatches(0, sizes=(6, 2))
    joined = [Minibatch(torch.cat([m.images for m in batch]), torch.cat([m.labels for m in batch]))]
    one, other = host(), host()
    assert torch.equal(one.update(as_batch(batch)), other.update(as_batch(joined)))
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True))


@pytest.mark.parametrize("changes", [{"lr": 1e-2}, {"weight_decay": 0.0}])
def test_each_hyperparameter_of_the_optimiser_changes_the_weights(changes: dict[str, Scalar]) -> None:
    one, other = host(), host(**changes)
    for algorithm in (one, other):
        algorithm.update(as_batch(minibatches(0)))
    assert not torch.equal(one.network.classifier.weight, other.network.classifier.weight)


def test_alignment_is_measured_over_what_trains_and_the_featurizer_is_a_part_of_it() -> None:
    algorithm = host()
    algorithm.network.classifier.bias.requires_grad_(False)
    every = {id(parameter) for parameter in algorithm.network.parameters()}
    measured = {id(parameter) for parameter in algorithm.predict_parameters()}
    assert measured == every - {id(algorithm.network.classifier.bias)}
    assert {id(parameter) for parameter in algorithm.featurizer_parameters()} == measured - {
        id(algorithm.network.classifier.weight)
    }


def test_all_optimiser_state_is_offered_to_the_checkpoint() -> None:
    algorithm = host()
    algorithm.update(as_batch(minibatches(0)))
    [optimizer] = algorithm.optimizers().values()
    assert len(optimizer.state_dict()["state"]) == len(list(algorithm.network.parameters()))
