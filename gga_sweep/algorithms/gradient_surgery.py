"""What gradient surgery shares: a gradient a domain, put together in some way, and one step along the result."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class GradientSurgery(Algorithm):
    """An update that puts the gradients of the domains' mean cross-entropies together.

    Each domain has its own forward and backward, of its rows alone: where batch norm is not frozen it sees the
    statistics of one domain at a time.
    """

    @abstractmethod
    def combine(self, gradients: list[Tensor], batch: Batch) -> list[Tensor]:
        """One gradient a parameter out of those of the domains.

        Args:
            gradients: one a parameter, (domains, *its shape).
            batch: for its random numbers.
        """

    def update(self, batch: Batch) -> Tensor:
        parameters = self.predict_parameters()
        losses, by_domain = [], []
        for minibatch, mask in zip(batch.minibatches, batch.masks, strict=True):
            loss = F.cross_entropy(self.predict(minibatch.images, mask), minibatch.labels)
            by_domain.append(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
            losses.append(loss.detach())
        combined = self.combine([torch.stack(each) for each in zip(*by_domain, strict=True)], batch)
        for parameter, gradient in zip(parameters, combined, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        return torch.stack(losses).mean()
