"""One step of a host that descends one loss, held against that loss; and hosts that go on from a saved state."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from tiny_hosts import adam_after, weights_of

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network


def assert_descends(host: Algorithm, batch: Batch, loss_of: Callable[[Network], torch.Tensor]) -> None:
    """A fresh host's first step returns the loss, has its gradient, and goes where Adam goes along it."""
    network = copy.deepcopy(host.network)
    expected = loss_of(network)
    gradients = torch.autograd.grad(expected, list(network.parameters()))
    loss = host.update(batch)
    assert not loss.requires_grad
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-10)
    for (name, before), gradient in zip(network.named_parameters(), gradients, strict=True):
        now = host.network.get_parameter(name)
        torch.testing.assert_close(now.grad, gradient, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(now.detach(), adam_after(before.detach(), now.grad), rtol=1e-12, atol=1e-12)


def assert_goes_on(make: Callable[[], Algorithm], batches: Sequence[Batch]) -> None:
    """Saved after the first batch and loaded into a fresh host, it takes the other steps with the same bits."""
    whole, resumed = make(), make()
    whole.update(batches[0])
    resumed.load_state_dict(weights_of(whole))
    for name, optimizer in copy.deepcopy(whole.optimizers()).items():
        resumed.optimizers()[name].load_state_dict(optimizer.state_dict())
    for batch in batches[1:]:
        assert torch.equal(whole.update(batch), resumed.update(batch))
    assert_same(whole, resumed, tolerance=0)


def assert_same(one: Algorithm, other: Algorithm, tolerance: float) -> None:
    """Equal states, entry by entry."""
    torch.testing.assert_close(weights_of(one), weights_of(other), rtol=0, atol=tolerance)


def in_single_precision(batch: Batch) -> Batch:
    """The same images, without dropout."""
    minibatches = [type(each)(each.images.float(), each.labels) for each in batch.minibatches]
    return Batch(minibatches, lambda *_: None, batch.numbers)
