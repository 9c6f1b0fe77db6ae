"""AND-mask: move only the weights whose gradient has the same sign in (nearly) every domain.

Parascandolo, Neitz, Orvieto, Gresele & Schoelkopf, "Learning explanations that are hard to vary", ICLR 2021, arXiv
2009.00329.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.gradient_surgery import GradientSurgery, mean


class ANDMask(GradientSurgery):
    """With g_d the gradient of domain d's mean cross-entropy, entry by entry of each parameter tensor:

        mask = 1 where |mean over domains of sign(g_d)| >= andmask_tau, else 0,
        gradient = mask * mean over domains of g_d / (1e-10 + share of the tensor's entries in the mask).

    `andmask_tau`: the required agreement; at 1 every domain has the same sign, at 0 nothing is masked and this is ERM.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class ANDMask. The paper's mask has no
    division; its code offers one, and DomainBed always divides. In the GGA release (aristotelisballas/GGA at 5450c2b)
    tau is always 1, whatever was drawn for it.
    """

    def combine(self, gradients: list[list[Tensor]], batch: Batch) -> list[Tensor]:
        return [self._masked(each) for each in zip(*gradients, strict=True)]

    def _masked(self, gradients: Sequence[Tensor]) -> Tensor:
        agreement = mean([each.sign() for each in gradients]).abs_()
        mask = agreement.ge_(float(self.hyperparameters["andmask_tau"]))  # of 0. and 1.
        return mean(gradients).mul_(mask).div_(1e-10 + mask.mean())
