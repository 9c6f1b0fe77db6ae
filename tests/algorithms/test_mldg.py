"""MLDG against copies of the network, each trained by a fresh Adam of torch's."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny_hosts import adam_after, convolutional_network, linear_network, tiny_batch, tiny_host, weights_of
from torch import Tensor, nn

from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network

LR = 1e-2


def pairs_by_definition(batch: Batch, n_meta_test: int) -> list[tuple[int, int]]:
    order = [int(domain) for domain in batch.numbers("meta-test domains").permutation(len(batch))]
    if n_meta_test == 0:
        return [(domain, order[(place + 1) % len(order)]) for place, domain in enumerate(order)]
    meta_test = [order.pop() for _ in range(n_meta_test)][::-1]
    return [(domain, meta_test[place % n_meta_test]) for place, domain in enumerate(order)]


def gradients_by_definition(
    network: Network, batch: Batch, n_meta_test: int, beta: float, weight_decay: float = 0.0
) -> tuple[list[Tensor], float]:
    """The joint gradient, by parameter, and the joint loss."""
    total, loss = [torch.zeros_like(each) for each in network.parameters()], 0.0
    for number, (train, test) in enumerate(pairs_by_definition(batch, n_meta_test)):
        inner = copy.deepcopy(network)
        adam = torch.optim.Adam(inner.parameters(), lr=LR, weight_decay=weight_decay)
        train_loss = loss_of(inner, batch, train, 0)
        train_loss.backward()
        total = [each + mine.grad.clone() for each, mine in zip(total, inner.parameters(), strict=True)]
        adam.step()
        test_loss = loss_of(inner, batch, test, 1 + number)
        slopes = torch.autograd.grad(test_loss, list(inner.parameters()))
        total = [each + beta * slope for each, slope in zip(total, slopes, strict=True)]
        loss += float(train_loss.detach()) + beta * float(test_loss.detach())
    return [each / len(batch) for each in total], loss / len(batch)


def loss_of(network: nn.Module, batch: Batch, domain: int, forward: int) -> Tensor:
    minibatch = batch.minibatches[domain]
    return F.cross_entropy(network(minibatch.images, batch.mask_of_forward(forward, domain)), minibatch.labels)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(
    ("domains", "n_meta_test", "beta"),
    [(2, 1, 1.0), (3, 1, 1.0), (3, 2, 0.3), (5, 2, 2.0), (5, 4, 1.0), (2, 0, 1.0), (4, 0, 0.5)],
)
def test_a_step_is_along_the_gradients_of_both_sides_over_the_number_of_domains(
    domains: int, n_meta_test: int, beta: float, dropout: float
) -> None:
    host = tiny_host("MLDG", n_domains=domains, mldg_n_meta_test=n_meta_test, mldg_beta=beta)
    network, batch = copy.deepcopy(host.network), tiny_batch(4, domains, dropout=dropout)
    expected, expected_loss = gradients_by_definition(network, batch, n_meta_test, beta)

    loss = host.update(batch)

    assert not loss.requires_grad
    assert float(loss) == pytest.approx(expected_loss, rel=1e-10)
    for parameter, before, gradient in zip(host.network.parameters(), network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(
            parameter.detach(), adam_after(before.detach(), parameter.grad), rtol=1e-12, atol=1e-12
        )


def test_steps_follow_the_definition_with_weight_decay_and_convolutions() -> None:
    host = tiny_host("MLDG", convolutional_network(), weight_decay=0.1, mldg_n_meta_test=1)
    network = copy.deepcopy(host.network)
    outer = torch.optim.Adam(network.parameters(), lr=LR, weight_decay=0.1)
    for step in range(3):
        batch = tiny_batch(step, side=8)
        gradients, _ = gradients_by_definition(network, batch, 1, 1.0, weight_decay=0.1)
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient
        outer.step()
        host.update(batch)
    for one, other in zip(host.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)


def test_the_domains_set_apart_change_from_step_to_step() -> None:
    apart = {pairs_by_definition(tiny_batch(step), 2)[0] for step in range(20)}
    assert len(apart) > 2


def test_what_is_not_trained_stays_and_what_is_not_used_has_gradient_zero() -> None:
    network = linear_network()
    network.register_parameter("unused", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    network.classifier.bias.requires_grad_(False)
    host = tiny_host("MLDG", network)
    before = weights_of(host)
    host.update(tiny_batch())
    after = weights_of(host)
    assert torch.equal(after["network.classifier.bias"], before["network.classifier.bias"])
    assert network.classifier.bias.grad is None
    assert torch.equal(network.get_parameter("unused").grad, torch.zeros(2, dtype=torch.float64))
    assert not torch.equal(after["network.classifier.weight"], before["network.classifier.weight"])
