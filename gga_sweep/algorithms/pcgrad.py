"""PCGrad: take out of each domain's gradient what points against another's.

Yu, Kumar, Gupta, Levine, Hausman & Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782
(algorithm 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.gradient_surgery import GradientSurgery


class PCGrad(GradientSurgery):
    """With g_d the gradient of domain d's mean cross-entropy over all parameters, the gradient is the mean of the p_d:
    p_d begins as g_d and, for the other domains e in a random order,

        p_d <- p_d - (p_d . g_e) / |g_e|^2 g_e   where p_d . g_e < 0.

    There are no hyperparameters; where no two domains conflict this is ERM. DomainBed has no such algorithm; this is
    the paper's form, with domains for tasks, save that the paper sums. Adam does not tell a sum from a mean, but weight
    decay and GGA-L's noise, which are added to the gradient, do: by the mean they weigh what they weigh in ERM.
    """

    def combine(self, gradients: list[Tensor], batch: Batch) -> list[Tensor]:
        n = len(batch)
        flat = torch.cat([each.flatten(1) for each in gradients], dim=1)
        dots = flat @ flat.T  # p_d . g_e and all that follows is linear in these
        numbers = batch.numbers("projection order")
        weights = torch.eye(n, dtype=flat.dtype, device=flat.device)
        for domain in range(n):
            for other in numbers.permutation([each for each in range(n) if each != domain]).tolist():
                along = weights[domain] @ dots[:, other]
                weights[domain, other] -= along.clamp_max(0) / dots[other, other].clamp_min(1e-30)
        mean = weights.mean(0)
        return [torch.tensordot(mean, each, dims=1) for each in gradients]
