"""IRM, invariant risk minimization: a classifier whose scale is optimal in every domain at once.

Arjovsky, Bottou, Gulrajani & Lopez-Paz, 2019, arXiv 1907.02893 (IRMv1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.penalties import PenalisedAlgorithm, domain_losses


class IRM(PenalisedAlgorithm):
    """With L_d the mean cross-entropy of domain d and w a scale of its logits z, the loss is the mean over domains of

        L_d(z) + weight * L_d'(even rows) L_d'(odd rows),   L_d'(rows) = derivative by w of L_d(w z) at w = 1.

    The product over two halves of a minibatch estimates the square of the derivative without bias. By the chain rule
    L_d' is the mean over the rows of sum over classes of (softmax(z) - onehot(y)) z.

    `irm_lambda`: the weight after the warm-up.
    `irm_penalty_anneal_iters`: steps for which the weight is 1; then Adam's moments are reset. With both at 0 this
        is ERM.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class IRM. The paper's penalty is the
    square over the whole minibatch; its code has the same warm-up.
    """

    def update(self, batch: Batch) -> Tensor:
        weight = self.penalty_weight(
            1.0, float(self.hyperparameters["irm_lambda"]), int(self.hyperparameters["irm_penalty_anneal_iters"])
        )
        logits = self.predict(batch.images, batch.mask)
        pull = (logits.softmax(1) - F.one_hot(batch.labels, logits.shape[1])) * logits
        halves = [(part[::2].sum(1).mean(), part[1::2].sum(1).mean()) for part in batch.split(pull)]
        penalty = torch.stack([even * odd for even, odd in halves]).mean()
        return self.descend(domain_losses(batch, logits).mean() + weight * penalty)
