"""SAM, sharpness-aware minimization: descend along the gradient of a nearby point with higher loss.

Foret, Kleiner, Mobahi & Neyshabur, ICLR 2021, arXiv 2010.01412.
"""

from __future__ import annotations

from torch import Tensor

from gga_sweep.algorithms.sharpness import EPSILON, SharpnessAware


class SAM(SharpnessAware):
    """With g the gradient of the mean cross-entropy of all images at the weights theta, the step is along the gradient
    at theta + sam_rho g / |g|, the norm being L2 over all parameters.

    `sam_rho`: radius of the ascent; 0 is ERM.

    Source of the form: the paper, equation 2, as aristotelisballas/GGA at 5450c2b has it.
    """

    def ascent(self, gradient_norm: Tensor) -> Tensor:
        return float(self.hyperparameters["sam_rho"]) / (gradient_norm + EPSILON)

    def combine(self, first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
        return second
