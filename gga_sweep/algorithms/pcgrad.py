"""PCGrad: remove from each domain's gradient the components that conflict with another's.

Yu, Kumar, Gupta, Levine, Hausman & Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782
(algorithm 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.gradient_surgery import GradientSurgery, dot_products


class PCGrad(GradientSurgery):
    """With g_d the gradient of domain d's mean cross-entropy over all parameters, the gradient is the mean of the p_d:
    p_d begins as g_d and, for the other domains e in a random order,

        p_d <- p_d - (p_d . g_e) / |g_e|^2 g_e   where p_d . g_e < 0.

    There are no hyperparameters; where no two domains conflict this is ERM. DomainBed has no such algorithm; this is
    the paper's form, with domains for tasks, but with a mean where the paper sums. For Adam the two are equal; weight
    decay and GGA-L's noise, which are added to the gradient, keep their weight in ERM only with the mean.
    """

    def combine(self, gradients: list[list[Tensor]], batch: Batch) -> list[Tensor]:
        n = len(batch)
        dots = dot_products(gradients)
        weights = torch.eye(n, dtype=dots.dtype, device=dots.device)  # row d: p_d, as weights of the gradients
        numbers = batch.numbers("projection order")
        for domain in range(n):
            for other in numbers.permutation([each for each in range(n) if each != domain]).tolist():
                along = weights[domain] @ dots[:, other]
                weights[domain, other] -= along.clamp_max(0) / dots[other, other].clamp_min(1e-30)
        first, *others = weights.mean(0)
        combined = torch._foreach_mul(gradients[0], first)
        for gradient, weight in zip(gradients[1:], others, strict=True):
            torch._foreach_add_(combined, torch._foreach_mul(gradient, weight))
        return list(combined)
