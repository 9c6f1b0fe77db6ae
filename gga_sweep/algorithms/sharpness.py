"""Shared by the sharpness methods: a gradient at the weights, one at an ascent point, and a step along both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
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
        parameters: list[Tensor] = [*self.predict_parameters()]
        loss, first = self._gradient(batch, parameters)
        kept = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            torch._foreach_add_(parameters, torch._foreach_mul(first, self.ascent(norm(first))))
        with _running_statistics_kept(self.network):
            _, second = self._gradient(batch, parameters)
        with torch.no_grad():
            torch._foreach_copy_(parameters, kept)
        for parameter, gradient in zip(parameters, self.combine(first, second), strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        return loss

    def _gradient(self, batch: Batch, parameters: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        loss = F.cross_entropy(self.predict(batch.images, batch.mask), batch.labels)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return loss.detach(), list(gradients)


def norm(gradient: list[Tensor]) -> Tensor:
    """L2, over all parameters."""
    whole: Tensor = torch.stack(torch._foreach_norm(gradient)).norm()
    return whole


def dot(one: list[Tensor], other: list[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


@contextmanager
def _running_statistics_kept(network: nn.Module) -> Iterator[None]:
    kept = [(each, each.clone()) for each in network.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)
