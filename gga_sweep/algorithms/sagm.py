"""SAGM, sharpness-aware gradient matching: descend at the weights and at a worse point, and align the two gradients.

Wang, Zhang, Lei & Zhang, CVPR 2023, arXiv 2303.10353.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gga_sweep.algorithms.sharpness import EPSILON, SharpnessAware


class SAGM(SharpnessAware):
    """With g the gradient of the mean cross-entropy of all images at the weights theta, and g_p that at
    theta + (sam_rho / |g| - sagm_alpha) g, the step is along (g + g_p) / 2.

    To first order in sagm_alpha, going back by it adds -sagm_alpha times the inner product of g and g_p to the loss.

    `sam_rho`: radius of the ascent.
    `sagm_alpha`: by how much the ascent is shortened, in units of the gradient; with both at 0 this is ERM.

    Source of the form: Wang-pengfei/SAGM; the paper writes the sum of the two losses, which for Adam equals the mean.
    The GGA release (aristotelisballas/GGA at 5450c2b) keeps the radius at 0.05 whatever `rho` is, and its default
    alpha, 0.001, lies outside its own random set.
    """

    def ascent(self, gradient_norm: Tensor) -> Tensor:
        rho, alpha = (float(self.hyperparameters[name]) for name in ("sam_rho", "sagm_alpha"))
        return rho / (gradient_norm + EPSILON) - alpha

    def combine(self, first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
        total = torch._foreach_add(first, second)
        torch._foreach_mul_(total, 0.5)
        return list(total)
