"""Empirical risk minimisation: the mean cross-entropy of all training domains' images (Vapnik, 1998)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.domains import Minibatch


class ERM(Algorithm):
    """Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class ERM."""

    def update(self, minibatches: Sequence[Minibatch], mask: torch.Tensor | None) -> torch.Tensor:
        images = torch.cat([minibatch.images for minibatch in minibatches])
        labels = torch.cat([minibatch.labels for minibatch in minibatches])
        loss = F.cross_entropy(self.predict(images, mask), labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.optimizer.step()
        return loss.detach()
