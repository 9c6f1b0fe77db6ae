"""VREx, variance risk extrapolation: losses that are the same in every domain.

Krueger, Caballero, Jacobsen, Zhang, Binas, Zhang, Le Priol & Courville, ICML 2021, arXiv 2003.00688.
"""

from __future__ import annotations

from torch import Tensor

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.penalties import PenalisedAlgorithm, domain_losses


class VREx(PenalisedAlgorithm):
    """With L_d the mean cross-entropy of domain d and m their mean, the loss is

        m + weight * mean over domains of (L_d - m)^2.

    `vrex_lambda`: the weight after the warm-up.
    `vrex_penalty_anneal_iters`: steps for which the weight is 1; then Adam's moments are reset. With both at 0 this
        is ERM.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class VREx. The paper writes the sum of the
    losses and not their mean.
    """

    def update(self, batch: Batch) -> Tensor:
        weight = self.penalty_weight(
            1.0, float(self.hyperparameters["vrex_lambda"]), int(self.hyperparameters["vrex_penalty_anneal_iters"])
        )
        losses = domain_losses(batch, self.predict(batch.images, batch.mask))
        return self.descend(losses.mean() + weight * losses.var(correction=0))
