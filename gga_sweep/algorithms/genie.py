"""GENIE: an optimiser that gives every parameter the same part in the progress on unseen data.

Cho, Kim & Kim, "One-Step Generalization Ratio Guided Optimization for Domain Generalization", ICML 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gga_sweep.algorithms.base import Algorithm, Setting
from gga_sweep.algorithms.batch import Batch
from gga_sweep.networks.network import Network
from gga_sweep.records import Scalar

_EPSILON = 1e-8


class GENIE(Algorithm):
    """With g the gradient of the mean cross-entropy of all images (weight decay included), m and s the moving averages
    of g and g^2 with weight a = `genie_average` of the past, c = 1 - a^t, and r the sum of the squared weights of the
    average at step t, r = (1 - a) (2 - c) / ((1 + a) c), entry by entry:

        m' = m / c,   v = (s / c - m'^2) / (1 - r)  (1e-8 where that is not positive),
        k = tanh(min(1 / v, 10)),   q = 1 / (1 + r v / (m'^2 + 1e-8)),
        theta <- theta - genie_rate M (k q m' + (1 - k) sigma xi),

    with sigma = sum of k q |m'| / sum of k over the entries of a tensor, xi ~ N(0, 1), and M zero with chance
    `genie_drop`, else 1 / (1 - genie_drop). At the first step v is undefined, and is 1e-8.

    `genie_rate`: the length of a step (the release's `convergence_rate`). It takes the place of `lr`, which has no
        effect on this algorithm.
    `genie_average`: weight of the past (its `moving_avg`).
    `genie_drop`: share of the entries that do not move at a step (its `p`).

    Source of the form: 00ssum/GENIE, domainbed/opt/GENIE.py; random ranges from its domainbed/hparams_registry.py. Its
    first step divides 0 by 0, so that rounding decides; and it steps from its own copy of the weights, which is the
    same as long as nothing else moves them. Not verified against the paper.
    """

    optimizer: Equalizer

    def __init__(self, network: Network, hyperparameters: Mapping[str, Scalar], setting: Setting) -> None:
        super().__init__(network, hyperparameters, setting)
        rate, average, drop, weight_decay = (
            float(hyperparameters[name]) for name in ("genie_rate", "genie_average", "genie_drop", "weight_decay")
        )
        self.optimizer = Equalizer(network.parameters(), rate, average, drop, weight_decay)

    def update(self, batch: Batch) -> Tensor:
        self.optimizer.generator = batch.generator("noise and masks", batch.images.device)
        return self.descend(F.cross_entropy(self.predict(batch.images, batch.mask), batch.labels))


class Equalizer(torch.optim.Optimizer):
    """The optimiser of `GENIE`.

    Attributes:
        generator: of the numbers that the next step draws, on the parameters' device.
    """

    generator: torch.Generator

    def __init__(
        self, parameters: Iterable[nn.Parameter], rate: float, average: float, drop: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, {"lr": rate, "average": average, "drop": drop, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: nn.Parameter, gradient: Tensor, group: Mapping[str, float]) -> None:
        average, drop = group["average"], group["drop"]
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - average)
        state["square"].mul_(average).addcmul_(gradient, gradient, value=1 - average)
        weight = 1 - average ** state["step"]
        ratio = (1 - average) * (2 - weight) / ((1 + average) * weight)
        mean = state["mean"] / weight
        squared = mean.square()
        if state["step"] == 1:
            variance = torch.full_like(mean, _EPSILON)
        else:
            variance = (state["square"] / weight).sub_(squared).div_(1 - ratio)
            variance = torch.where(variance > 0, variance, _EPSILON)
        trust = variance.reciprocal().clamp_(max=10).tanh_()
        squared.add_(_EPSILON)
        pull = squared.div_(torch.add(squared, variance, alpha=ratio)).mul_(trust).mul_(mean)
        length = pull.abs().sum() / trust.sum()
        noise = torch.empty_like(pull).normal_(generator=self.generator)
        pull.addcmul_(noise, trust.neg_().add_(1).mul_(length))
        kept = torch.empty_like(pull).uniform_(generator=self.generator) >= drop
        parameter.addcmul_(pull, kept, value=-group["lr"] / (1 - drop))
