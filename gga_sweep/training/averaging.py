"""SWAD: weights averaged densely over a valley of the validation loss (Cha et al., NeurIPS 2021, arXiv 2102.08604).

Averaging does not change the training. A *segment* is the steps since the previous evaluation. The valley is that of
the release (khanrc/swad, domainbed/swad.py, `LossValley`), in the validation losses (mean over training domains, at
each evaluation):

- It is found at the first evaluation that is the lowest of `n_converge` in a row, itself the first of them: t_s of the
  paper's Algorithm 1. Their mean times 1 + `tolerance_ratio` is the threshold.
- It begins before t_s where the losses before it lie within the threshold too, by up to `n_tolerance` - `n_converge`
  evaluations: its first segment is the first with both ends within, or the one that ends at t_s. (The paper begins at
  t_s.)
- It ends with its last evaluation within the threshold, before `n_tolerance` in a row that lie above it, or before the
  end of training. (If the valley does not end, the paper uses the last step.)
- If none is found, the last segment is averaged.

The weights are the paper's: the mean over every step of the valley, each once. The release differs, in what look like
mistakes:

- Every segment has the same weight, however many steps it has. That of t_s can count twice, and not at all if
  `n_tolerance` <= `n_converge`.
- If the valley is found before `n_tolerance` evaluations, the first segment can count several times, and segments
  before t_s can be left out although their losses are within the threshold.
- If `n_tolerance` < `n_converge`, the next `n_converge` - `n_tolerance` segments after t_s count whatever their losses.
- If training ends within `n_tolerance` evaluations of t_s, segments before the valley count.

It also ends training with the valley; here training continues, since a step of its own can be selected too.

Averaged are all floating-point tensors of the network, buffers included. Those of batch norm are constant where it is
frozen. If it is not, the mean of its running statistics replaces those of the mean weights; the release recomputes them
from 500 further minibatches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from gga_sweep.spec.models import AveragingConfig


@dataclass(frozen=True, slots=True)
class Valley:
    """Of the validation losses; evaluations are counted from 0.

    Args:
        first: the evaluation that ends its first segment.
        last: its last evaluation.
        threshold: how high it reaches.
        ended: whether later evaluations cannot belong to it.
    """

    first: int
    last: int
    threshold: float
    ended: bool


def loss_valley(losses: Sequence[float], settings: AveragingConfig) -> Valley | None:
    """The valley as far as it is known after these evaluations; None before it is found."""
    n = settings.n_converge
    start = next((i for i in range(len(losses) - n + 1) if losses[i] == min(losses[i : i + n])), None)
    if start is None:
        return None
    threshold = (1 + settings.tolerance_ratio) * fmean(losses[start : start + n])
    first = start
    while first > max(0, start - settings.n_tolerance + n) and losses[first - 1] <= threshold:
        first -= 1
    last = start
    for i in range(start + 1, len(losses)):
        if losses[i] <= threshold:
            last = i
        elif i >= start + n and i - last >= settings.n_tolerance:
            return Valley(min(first + 1, start), last, threshold, ended=True)
    return Valley(min(first + 1, start), last, threshold, ended=False)


@dataclass(frozen=True, slots=True)
class Average:
    """The mean of a network's weights over consecutive steps.

    Args:
        evaluation: the number of the one it ends with.
        first_step, last_step: both included.
        weights: by name, float32, on the CPU.
    """

    evaluation: int
    first_step: int
    last_step: int
    weights: Mapping[str, Tensor]

    @property
    def steps(self) -> int:
        return self.last_step - self.first_step + 1


class WeightAveraging:
    """Averages the weights of one run. Its whole state is `state()`.

    It stores what later evaluations may need, averaged as far as possible: about `n_tolerance` copies of the weights
    until the valley is found, two afterwards.

    Args:
        settings: of the valley.
        device: of the network.
    """

    def __init__(self, settings: AveragingConfig, device: torch.device) -> None:
        self._settings = settings
        self._device = device
        self._losses: list[float] = []
        self._kept: list[Average] = []
        self._steps = 0
        self._sums: dict[str, Tensor] = {}
        """Of the steps since the last evaluation, in float64, so that their number rounds nothing."""

    def add(self, network: nn.Module) -> None:
        """Add the weights after a step."""
        for name, weight in _floating(network):
            if self._steps == 0:
                self._sums[name] = weight.to(torch.float64, copy=True)
            else:
                self._sums[name].add_(weight)
        self._steps += 1

    def end_segment(self, step: int, loss: float) -> None:
        """Add the validation loss of the evaluation after this step, whose weights were added."""
        weights = {name: (total / self._steps).float().cpu() for name, total in self._sums.items()}
        self._kept.append(Average(len(self._losses), step - self._steps + 1, step, weights))
        self._losses.append(loss)
        self._steps, self._sums = 0, {}
        valley = self.valley
        if valley is None:
            settings = self._settings
            self._kept = self._kept[-max(settings.n_tolerance - 2, settings.n_converge - 1, 1) :]
            return
        inside = [one for one in self._kept if valley.first <= one.evaluation <= valley.last]
        after = [one for one in self._kept if one.evaluation > valley.last and not valley.ended]
        self._kept = [_joined(part) for part in (inside, after) if part]

    @property
    def valley(self) -> Valley | None:
        return loss_valley(self._losses, self._settings)

    @property
    def average(self) -> Average:
        """Over the valley, after the last evaluation; over the last segment where there is none."""
        return self._kept[-1 if self.valley is None else 0]

    def state(self) -> dict[str, Any]:
        """Tensors and plain data. The tensors are no copies."""
        return {
            "losses": list(self._losses),
            "kept": [{item.name: getattr(one, item.name) for item in fields(one)} for one in self._kept],
            "steps": self._steps,
            "sums": dict(self._sums),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._losses = list(state["losses"])
        self._kept = [Average(**one) for one in state["kept"]]
        self._steps = state["steps"]
        self._sums = {name: total.to(self._device, copy=True) for name, total in state["sums"].items()}


def _floating(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, tensor) for name, tensor in network.state_dict().items() if tensor.is_floating_point())


def _joined(parts: Sequence[Average]) -> Average:
    """One average over the steps of consecutive ones."""
    if len(parts) == 1:
        return parts[0]
    first, last = parts[0], parts[-1]
    steps = last.last_step - first.first_step + 1
    weights = {name: (_weighted(name, parts) / steps).float() for name in first.weights}
    return Average(last.evaluation, first.first_step, last.last_step, weights)


def _weighted(name: str, parts: Iterable[Average]) -> Tensor:
    return torch.stack([one.weights[name].double() * one.steps for one in parts]).sum(dim=0)
