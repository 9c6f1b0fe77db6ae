"""GGA-L: noise on the joint gradient, scaled by the disagreement of the domains' gradients.

Source: Ballas & Diou, CVPR 2025, arXiv 2502.20162; aristotelisballas/GGA at 5450c2b.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from gga_sweep.annealing.agreement import gradient_agreement
from gga_sweep.annealing.flat import entry_count, pieces, working_dtype
from gga_sweep.annealing.isolation import unchanged_random_state
from gga_sweep.annealing.options import GGAL, GradientMethod, Noise
from gga_sweep.annealing.scoring import STEP_MASK, ScoredModel, Scorer


def measure_mean_cosine(
    model: ScoredModel, parameters: Sequence[Tensor], buffers: Sequence[Tensor], method: GradientMethod = "loop"
) -> float:
    """Between the gradients of every two domains, under the mask of the step's own update; NaN where undefined.

    Weights, `.grad`, buffers and torch's global random state do not change.

    Raises:
        ValueError: as `Scorer`.
    """
    scorer = Scorer(model, parameters, buffers, method)
    with unchanged_random_state(parameters):
        scorer.differentiate(lambda _: STEP_MASK)
    return gradient_agreement(scorer.vectors).mean


def noise_scale(settings: GGAL, mean_cosine: float) -> float:
    """Alpha: gamma * (1 - mean cosine over unordered pairs of domains), or gamma where it is constant.

    0 where the mean cosine is NaN, because a gradient is zero or not finite.
    """
    if settings.alpha == "constant":
        return settings.gamma
    return 0.0 if math.isnan(mean_cosine) else settings.gamma * (1 - mean_cosine)


def draw_gradient_noise(kind: Noise, generator: torch.Generator, parameters: Sequence[Tensor]) -> Tensor:
    """Xi, a flat vector (entries,) on the parameters' device; see `GGAL`."""
    xi = torch.empty(entry_count(parameters), dtype=working_dtype(parameters), device=generator.device)
    if kind == "gaussian":
        xi.normal_(generator=generator)
    else:
        low = 0.0 if kind == "uniform" else -0.5
        xi.uniform_(low, low + 1, generator=generator)
    return xi.to(parameters[0].device)


@torch.no_grad()
def add_to_gradients(parameters: Sequence[Parameter], xi: Tensor, alpha: float) -> float:
    """Add alpha * xi to the `.grad` of every parameter that has one.

    Returns:
        L2 norm of the added noise.
    """
    moved = [
        (parameter.grad, piece)
        for parameter, piece in zip(parameters, pieces(xi, parameters), strict=True)
        if parameter.grad is not None
    ]
    for gradient, piece in moved:
        gradient.add_(piece, alpha=alpha)
    return alpha * l2_norm([piece for _, piece in moved])


def l2_norm(tensors: Iterable[Tensor]) -> float:
    """Over all entries of all tensors, accumulated in float64."""
    squares = [tensor.detach().double().square().sum() for tensor in tensors]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
