"""GGA-L in a run: noise added to the gradient between an algorithm's backward and its optimiser's step."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gga_sweep.algorithms.base import Algorithm
from gga_sweep.annealing import (
    GGAL,
    add_to_gradients,
    draw_gradient_noise,
    l2_norm,
    measure_mean_cosine,
    noise_scale,
)
from gga_sweep.records import NoisyStep
from gga_sweep.training.annealed_step import StepModel
from gga_sweep.training.randomness import RunStreams


def noisy_update(
    algorithm: Algorithm,
    settings: GGAL,
    streams: RunStreams,
    step: int,
    model: StepModel,
    update: Callable[[], torch.Tensor],
) -> tuple[torch.Tensor, NoisyStep]:
    """Make one update of the algorithm, with noise added to its gradient.

    Args:
        model: this step's minibatches.
        update: the algorithm's; it calls `algorithm.optimizer.step` when its gradient is complete.

    Returns:
        The return value of the update, and the line of the ledger.
    """
    parameters = algorithm.predict_parameters()
    mean_cosine = float("nan")
    if settings.alpha == "adaptive":
        mean_cosine = measure_mean_cosine(model, parameters, list(algorithm.buffers()), settings.domain_gradients)
    alpha = noise_scale(settings, mean_cosine)
    norms: list[tuple[float, float]] = []

    def add_noise(*_: object) -> None:
        if not norms:  # an optimiser may step more than once; the joint gradient is that of the first
            gradients = l2_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
            xi = draw_gradient_noise(settings.noise, streams.gradient_noise(step, parameters[0].device), parameters)
            norms.append((add_to_gradients(parameters, xi, alpha), gradients))

    handle = algorithm.optimizer.register_step_pre_hook(add_noise)
    try:
        loss = update()
    finally:
        handle.remove()
    ((noise_norm, gradient_norm),) = norms
    return loss, NoisyStep(step, mean_cosine, alpha, noise_norm, gradient_norm)
