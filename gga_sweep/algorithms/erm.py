"""Empirical risk minimisation: the mean cross-entropy of all training domains' images (Vapnik, 1998)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class ERM(Algorithm):
    """Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class ERM."""

    def update(self, batch: Batch) -> Tensor:
        return self.descend(F.cross_entropy(self.predict(batch.images, batch.mask), batch.labels))
