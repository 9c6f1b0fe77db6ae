"""GSAM, surrogate gap guided SAM: descend the loss at a worse point, and reduce its gap to the loss at the weights.

Zhuang, Gong, Yuan, Cui, Adam, Dvornek, Tatikonda, Duncan & Liu, ICLR 2022, arXiv 2203.08065 (algorithm 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gga_sweep.algorithms.sharpness import EPSILON, SharpnessAware, dot, norm


class GSAM(SharpnessAware):
    """With g the gradient of the mean cross-entropy of all images at the weights theta, and g_p that at
    theta + sam_rho g / |g|, the step is along

        g_p - gsam_alpha h,   h = g - cos(g, g_p) |g| g_p / |g_p|,

    h being the part of g that is orthogonal to g_p.

    `sam_rho`: radius of the ascent.
    `gsam_alpha`: weight of the orthogonal part; with both at 0 this is ERM.

    Source of the form: juntang-zhuang/GSAM, with a constant radius. The GGA release (aristotelisballas/GGA at 5450c2b)
    holds the radius at 0.05 whatever `rho` says, and its default alpha, 0.001, lies outside its own random set.
    """

    def ascent(self, gradient_norm: Tensor) -> Tensor:
        return float(self.hyperparameters["sam_rho"]) / (gradient_norm + EPSILON)

    def combine(self, first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
        alpha = float(self.hyperparameters["gsam_alpha"])
        along = dot(first, second) / (norm(second) + EPSILON).square()
        combined = torch._foreach_mul(second, 1 + alpha * along)
        torch._foreach_add_(combined, first, alpha=-alpha)
        return list(combined)
