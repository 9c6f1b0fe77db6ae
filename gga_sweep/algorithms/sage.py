"""SAGE, spectral-aware gradient-aligned exploration: a spectral ascent before the step, and GGA-L's noise on it.

Ballas & Diou, "Flatness and Gradient Alignment Are Both Necessary", 2026, arXiv 2605.07914.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.gradient_surgery import domain_gradients, dot_products, mean
from gga_sweep.algorithms.sharpness import displaced, joint_gradient

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_LEAST_NORM = 1e-12


class SAGE(Algorithm):
    """With g_d the gradient of domain d's mean cross-entropy at the weights theta and g their mean, the step is along

        g' + alpha xi,   alpha = sage_gamma (1 - mean over pairs of domains of cos(g_i, g_j)),   xi ~ N(0, 1),

    with g' the gradient of the mean cross-entropy of all images at theta + e. For a parameter W of two or more
    dimensions, as a matrix with a row an output, e = sage_rho P, where P approximates the polar factor of W's part
    of g (U V^T of its singular value decomposition) by five Newton-Schulz iterations: all singular values come to lie
    near 1. For any other parameter, e = sage_rho times its part of g over that part's norm. Norms are L2 (Frobenius').

    Both forwards have the same dropout mask. If batch norm is not frozen, each domain has its own batch statistics in
    the first; the second writes no running statistics. alpha is 0 where a domain's gradient is zero.

    `sage_rho`: radius of the ascent; at 0 this is ERM with GGA-L's noise at every step (`annealing.method: gga-l`).
    `sage_gamma`: scale of the noise; at 0 this is the spectral ascent alone. The default is GGA-L's. (The authors' code
        has 1 with SGD, and 1e-4 with Adam.)
    `sage_relative`: whether the radius of a matrix is in units of its norm: e = sage_rho |W| P.

    Source of the form: the first author's aristotelisballas/mtl-desam, experiments/nyuv2/trainer_muonsamgga.py, and
    aristotelisballas/my-disam, code/algorithms/MuonGGASAM.py, with its radius. Neither says that it is the paper's
    code. The second has `sage_relative`, with which SmallCNN does not learn at this radius. It has one forward of all
    domains for the g_d. Not verified against the paper, of which only the abstract was available. It agrees: polar
    factors by Newton-Schulz, and isotropic noise that grows with the disagreement of the gradients. It says nothing of
    |W|.
    """

    def update(self, batch: Batch) -> Tensor:
        parameters = self.predict_parameters()
        losses, gradients = domain_gradients(self, batch, parameters)
        first = [mean(each) for each in zip(*gradients, strict=True)]
        with displaced(self.network, parameters, self._ascent(parameters, first)):
            _, second = joint_gradient(self, batch, parameters)
        if self.hyperparameters["sage_gamma"]:
            self._add_noise(second, gradients, batch)
        for parameter, gradient in zip(parameters, second, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        return torch.stack(losses).mean()

    def _ascent(self, parameters: list[torch.nn.Parameter], gradient: list[Tensor]) -> list[Tensor]:
        rho = float(self.hyperparameters["sage_rho"])
        found = []
        for parameter, part in zip(parameters, gradient, strict=True):
            if part.ndim < 2:
                found.append(part * (rho / part.norm().clamp_min(_LEAST_NORM)))
            elif self.hyperparameters["sage_relative"]:
                found.append(polar_factor(part) * (rho * parameter.detach().norm()))
            else:
                found.append(polar_factor(part) * rho)
        return found

    def _add_noise(self, combined: list[Tensor], gradients: list[list[Tensor]], batch: Batch) -> None:
        dots = dot_products(gradients)
        norms = dots.diagonal().sqrt()
        n = len(batch)
        cosine = (dots / (norms * norms[:, None])).triu(1).sum() / (n * (n - 1) / 2)
        alpha = torch.nan_to_num(float(self.hyperparameters["sage_gamma"]) * (1 - cosine), nan=0.0)
        numbers = batch.generator("gradient noise", alpha.device)
        for each in combined:
            each.addcmul_(torch.empty_like(each).normal_(generator=numbers), alpha.to(each.dtype))


def polar_factor(gradient: Tensor) -> Tensor:
    """Newton-Schulz's approximation of U V^T of a gradient (outputs, ...), as a matrix of a row an output.

    Coefficients and number of iterations are those of KellerJordan/Muon: singular values end between about 0.7 and 1.2,
    save very small ones, which stay below.
    """
    a, b, c = _NEWTON_SCHULZ
    matrix = gradient.flatten(1)
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = (matrix.mT if tall else matrix) / (matrix.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).reshape(gradient.shape)
