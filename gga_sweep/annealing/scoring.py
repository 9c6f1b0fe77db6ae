"""The score of a point: how well the domains' gradients agree there, and the joint loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gga_sweep.annealing.agreement import gradient_agreement
from gga_sweep.annealing.gradients import domain_gradients, empty_gradients
from gga_sweep.annealing.isolation import unchanged
from gga_sweep.annealing.settings import JointLoss, Mask

Draw = tuple[int | str, ...]
"""The name of a dropout mask: equal names must give equal masks, different names independent ones.

`("step",)`: the step's own. `("start", f)` and `("candidate", k, f)`: of forward `f` while scoring the start or
candidate `k` with a new mask at every forward; forward i is domain i's, forward n_domains that of the joint loss.
`("fresh", m)`: one of the masks that the search has not seen.
"""

STEP_MASK: Draw = ("step",)


class ScoredModel(Protocol):
    """A model with one fixed minibatch a training domain, as its host supplies it, in training mode.

    A loss must depend on nothing but the weights, the buffers and the draw: the same call gives the same bits. It may
    write buffers named to the search and consume torch's global random numbers; the search restores both.
    """

    @property
    def n_domains(self) -> int:
        """Number of training domains."""

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        """Scalar loss of one domain's minibatch: plain cross-entropy, no penalty of the algorithm."""

    def joint_loss(self, draw: Draw) -> Tensor:
        """Scalar loss of the concatenated minibatches; asked for with `joint_loss="forward"` only."""


class Score(NamedTuple):
    """Alignment: minimum cosine over pairs of domains, in [-1, 1], NaN where undefined. Loss: joint, in nats."""

    alignment: float
    loss: float

    def is_defined(self) -> bool:
        return not (math.isnan(self.alignment) or math.isnan(self.loss))


class Scorer:
    """Scores the present weights of a model and leaves buffers and `.grad` as they were.

    Args:
        model: has at least 2 domains.
        scored: the parameters whose gradients are compared.
        buffers: restored after every forward.
    """

    def __init__(self, model: ScoredModel, scored: Sequence[Tensor], buffers: Sequence[Tensor]) -> None:
        if model.n_domains < 2:
            raise ValueError(f"annealing compares the gradients of at least 2 domains, got {model.n_domains}")
        self._model = model
        self._scored = tuple(scored)
        self._buffers = tuple(buffers)
        self._gradients = empty_gradients(model.n_domains, self._scored)

    def score(self, draw_of: Callable[[int], Draw], joint_loss: JointLoss) -> Score:
        """Alignment and joint loss; `draw_of` names the mask of each forward, 0 .. n_domains (the last the joint)."""
        alignment, losses = self._measure(draw_of)
        if joint_loss == "mean":
            return Score(alignment, math.fsum(losses) / len(losses))
        with torch.no_grad(), unchanged(self._buffers):
            return Score(alignment, float(self._model.joint_loss(draw_of(self._model.n_domains))))

    def alignment(self, draw: Draw) -> float:
        """The alignment with every domain under one mask."""
        return self._measure(lambda _: draw)[0]

    def _measure(self, draw_of: Callable[[int], Draw]) -> tuple[float, tuple[float, ...]]:
        gradients = domain_gradients(
            lambda domain: self._model.domain_loss(domain, draw_of(domain)),
            self._model.n_domains,
            self._scored,
            self._buffers,
            out=self._gradients,
        )
        return gradient_agreement(gradients.vectors).minimum, gradients.losses


def scoring_draw(mask: Mask, candidate: int | None, forward: int) -> Draw:
    """The mask of one forward while a candidate is scored; None is the start."""
    if mask == "step":
        return STEP_MASK
    return ("start", forward) if candidate is None else ("candidate", candidate, forward)
