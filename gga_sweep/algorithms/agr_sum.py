"""Agreement-sum: keep the entries of the gradient on whose sign all domains agree, and drop the others.

Mansilla, Echeveste, Milone & Ferrante, "Domain Generalization via Gradient Surgery", ICCV 2021, arXiv 2108.01621.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.gradient_surgery import GradientSurgery, mean


class AgrSum(GradientSurgery):
    """With g_d the gradient of domain d's mean cross-entropy, an entry of the gradient is the mean of the g_d where all
    have one sign, and 0 elsewhere; an entry of 0 has no sign, and agrees with nothing.

    There are no hyperparameters; where all domains agree this is ERM. DomainBed has no such algorithm; this is the
    paper's form (lucasmansilla/DGvGS), but with a mean where the paper sums. For Adam the two are equal; weight decay
    and GGA-L's noise, which are added to the gradient, keep their weight in ERM only with the mean.
    """

    def combine(self, gradients: list[list[Tensor]], batch: Batch) -> list[Tensor]:
        return [_agreed(each) for each in zip(*gradients, strict=True)]


def _agreed(gradients: Sequence[Tensor]) -> Tensor:
    agree = mean([each.sign() for each in gradients]).abs_().eq_(1)  # of 0. and 1.
    return mean(gradients).mul_(agree)
