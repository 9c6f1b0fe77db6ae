"""Shared by gradient surgery: one gradient per domain, their combination, and one step along the result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class GradientSurgery(Algorithm):
    """An update that combines the gradients of the domains' mean cross-entropies.

    Each domain has its own forward and backward, of its rows alone: batch norm that is not frozen uses the
    statistics of one domain at a time.
    """

    @abstractmethod
    def combine(self, gradients: list[list[Tensor]], batch: Batch) -> list[Tensor]:
        """Combine the gradients of the domains into one per parameter.

        Args:
            gradients: of each domain, one per parameter; must not be changed, since autograd may share their memory.
            batch: for its random numbers.
        """

    def update(self, batch: Batch) -> Tensor:
        parameters = self.predict_parameters()
        losses, gradients = domain_gradients(self, batch, parameters)
        for parameter, gradient in zip(parameters, self.combine(gradients, batch), strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        return torch.stack(losses).mean()


def domain_gradients(
    algorithm: Algorithm, batch: Batch, parameters: list[nn.Parameter]
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The domains' mean cross-entropies without their graphs, and their gradients, each from a forward of its own."""
    losses, gradients = [], []
    for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True):
        loss = F.cross_entropy(algorithm.predict(minibatch.images, mask), minibatch.labels)
        gradients.append(list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)))
        losses.append(loss.detach())
    return losses, gradients


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """Mean entry by entry. Adds in place of stacking, because writing a stack of whole gradients is slow."""
    total = tensors[0].clone()
    for each in tensors[1:]:
        total += each
    return total.div_(len(tensors))


def dot_products(gradients: list[list[Tensor]]) -> Tensor:
    """Of the gradients of all pairs of domains, (domains, domains)."""
    rows = (torch.stack(each).flatten(1) for each in zip(*gradients, strict=True))
    return torch.stack([each @ each.T for each in rows]).sum(0)
