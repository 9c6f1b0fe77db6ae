"""SD, spectral decoupling: a penalty on the logits, against gradient starvation.

Pezeshki, Kaba, Bengio, Courville, Precup & Lajoie, "Gradient Starvation", NeurIPS 2021, arXiv 2011.09468.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch


class SD(Algorithm):
    """The loss is the mean cross-entropy of all images + `sd_reg` times the mean square of their logits (over images
    and classes).

    `sd_reg`: weight of the penalty; 0 is ERM.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class SD, which names equation 25 of the
    paper. Not verified against the paper.
    """

    def update(self, batch: Batch) -> Tensor:
        logits = self.predict(batch.images, batch.mask)
        penalty = logits.square().mean()
        return self.descend(F.cross_entropy(logits, batch.labels) + float(self.hyperparameters["sd_reg"]) * penalty)
