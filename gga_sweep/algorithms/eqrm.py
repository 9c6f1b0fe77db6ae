"""EQRM, empirical quantile risk minimization: descend a high quantile of the domains' losses.

Eastwood, Robey, Singh, von Kuegelgen, Hassani, Pappas & Schoelkopf, "Probable Domain Generalization via Quantile Risk
Minimization", NeurIPS 2022, arXiv 2207.09944 (algorithm 1).
"""

from __future__ import annotations

from statistics import NormalDist

import torch
from torch import Tensor

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.penalties import PenalisedAlgorithm, domain_losses

_ROUNDS = 4
_PARTS = 256
"""Each round divides the bracket of the quantile by `_PARTS`: together 32 halvings, as in DomainBed."""

_EPSILON = 1e-16
"""Added to the variance of the losses: its root has no gradient at 0."""


class EQRM(PenalisedAlgorithm):
    """With L_d the mean cross-entropy of domain d, the loss after the burn-in is the `eqrm_quantile`-quantile of the
    density that has a Gaussian kernel at each L_d, of standard deviation

        h = 1.06 s n^(-1/5),

    where s is the standard deviation (of divisor n - 1) of the n losses. During the burn-in it is their mean. If batch
    norm is not frozen, each domain has its own batch statistics.

    `eqrm_quantile`: between 0 and 1; near 1, the worst domain decides.
    `eqrm_burnin_iters`: steps of the burn-in; then Adam's moments are reset.
    `eqrm_lr`: the learning rate after the burn-in, in place of `lr`.
    `paper_form`: the gradient is that of the quantile. DomainBed searches the quantile between min(L) + z h and
        max(L) + z h, z being the same quantile of a standard normal, and differentiates these two ends alone, at the
        place that the search found between them.

    Source of the form: facebookresearch/DomainBed, domainbed/algorithms.py, class EQRM, and class Nonparametric of
    domainbed/lib/misc.py. Its random search draws a burn-in with a fraction, which no count of steps equals: such a run
    never resets Adam and never uses `eqrm_lr`. Here the burn-in is a whole number. Not verified against the paper.
    """

    def update(self, batch: Batch) -> Tensor:
        burnt_in = self.penalty_weight(0.0, 1.0, int(self.hyperparameters["eqrm_burnin_iters"]))
        losses = domain_losses(batch, self.network.classifier(self.separate_features(batch)))
        if not burnt_in:
            return self.descend(losses.mean())
        for group in self.optimizer.param_groups:
            group["lr"] = float(self.hyperparameters["eqrm_lr"])
        quantile = float(self.hyperparameters["eqrm_quantile"])
        return self.descend(kernel_quantile(losses, quantile, bool(self.hyperparameters["paper_form"])))


def kernel_quantile(losses: Tensor, quantile: float, exact_gradient: bool) -> Tensor:
    """The quantile of the kernel density of losses (n,), a scalar; see `EQRM`."""
    width = 1.06 * (losses.var() + _EPSILON).sqrt() * len(losses) ** -0.2
    shift = NormalDist().inv_cdf(quantile) * width
    low, high = losses.amin() + shift, losses.amax() + shift
    found = torch.lerp(low, high, _place(losses.detach(), width.detach(), low.detach(), high.detach(), quantile))
    if not exact_gradient:
        return found
    # One step of Newton's method from the quantile hardly moves it, and has its gradient: that of an implicit function.
    found = found.detach()
    away = (found - losses) / width
    density = (torch.exp(-away.square() / 2).mean() / (width * (2 * torch.pi) ** 0.5)).detach()
    step: Tensor = (quantile - torch.special.ndtr(away).mean()) / density
    return found + step


def _place(losses: Tensor, width: Tensor, low: Tensor, high: Tensor, quantile: float) -> Tensor:
    """Where the quantile lies between two ends: 0 at the low one, 1 at the high one."""
    grid = torch.linspace(0, 1, _PARTS + 1, dtype=losses.dtype, device=losses.device)
    begin, part = grid[:1], 1.0
    for _ in range(_ROUNDS):
        places = begin + part * grid
        points = torch.lerp(low, high, places)
        below = torch.special.ndtr((points - losses[:, None]) / width).mean(0) <= quantile
        begin = places.gather(0, (below.sum(0, keepdim=True) - 1).clamp(0, _PARTS - 1))
        part /= _PARTS
    return (begin + part / 2).squeeze(0)
