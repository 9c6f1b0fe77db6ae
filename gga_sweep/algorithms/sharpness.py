"""Shared by the sharpness methods: a gradient at the weights, one at an ascent point, and a step along both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch

EPSILON = 1e-12
"""Added to norms in denominators."""


class SharpnessAware(Algorithm):
    """An update of two forwards and backwards, under the same dropout mask. (The GGA release and davda54/sam draw a new
    mask for the second.)

    Only the first writes running statistics of batch norm (as in davda54/sam). The weights are restored from a copy, to
    the bit.
    """

    @abstractmethod
    def ascent(self, gradient_norm: Tensor) -> Tensor:
        """The length of the ascent, in units of the gradient: a scalar."""

    @abstractmethod
    def combine(self, first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
        """The gradient of the step, from those at the weights and at the ascent point."""

    def update(self, batch: Batch) -> Tensor:
        parameters = self.predict_parameters()
        loss, first = joint_gradient(self, batch, parameters)
        with displaced(self.network, parameters, torch._foreach_mul(first, self.ascent(norm(first)))):
            _, second = joint_gradient(self, batch, parameters)
        for parameter, gradient in zip(parameters, self.combine(first, second), strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        return loss


def joint_gradient(algorithm: Algorithm, batch: Batch, parameters: list[nn.Parameter]) -> tuple[Tensor, list[Tensor]]:
    """The mean cross-entropy of all images without its graph, and its gradient."""
    loss = F.cross_entropy(algorithm.predict(batch.images, batch.mask), batch.labels)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return loss.detach(), list(gradients)


@contextmanager
def displaced(network: nn.Module, parameters: Sequence[Tensor], by: Sequence[Tensor]) -> Iterator[None]:
    """Within the block the parameters are moved. Then they have their bits again, and so do the network's buffers."""
    own = [*parameters]
    weights = [each.detach().clone() for each in own]
    buffers = [(each, each.clone()) for each in network.buffers()]
    with torch.no_grad():
        torch._foreach_add_(own, [*by])
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(own, weights)
        for buffer, value in buffers:
            buffer.copy_(value)


def norm(gradient: list[Tensor]) -> Tensor:
    """L2, over all parameters."""
    whole: Tensor = torch.stack(torch._foreach_norm(gradient)).norm()
    return whole


def dot(one: list[Tensor], other: list[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()
