"""The score of a point: the alignment of the domains' gradients, and the joint loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from gga_sweep.annealing.agreement import dot_products, minimum_cosine
from gga_sweep.annealing.gradients import domain_gradients, empty_gradients
from gga_sweep.annealing.isolation import Buffers
from gga_sweep.annealing.layerwise import LayerwiseGradients
from gga_sweep.annealing.options import GradientMethod, JointLoss, Mask

Draw = tuple[int | str, ...]
"""The name of a dropout mask: equal names must give equal masks, different names independent ones.

`("step",)`: the step's own. `("start", f)` and `("candidate", k, f)`: of forward `f` while scoring the start or
candidate `k` with a new mask at every forward; forward i is domain i's, forward n_domains that of the joint loss.
`("fresh", m)`: one of the masks that the candidate search has not used.
"""

STEP_MASK: Draw = ("step",)


DrawOf = Callable[[int], Draw]
"""The mask of each forward: 0 .. n_domains - 1 the domains', n_domains that of the joint loss."""


class ScoredModel(Protocol):
    """A model with one fixed minibatch a training domain, in training mode.

    A loss must depend on nothing but the weights, the buffers and the draw: the same call gives the same bits. It may
    write the buffers passed to the search and consume torch's global random numbers; `search_step` restores both. A
    model with an attribute `ignores_draws` that is true states that no loss so far depended on its draw.
    """

    @property
    def n_domains(self) -> int:
        """Number of training domains."""

    def domain_loss(self, domain: int, draw: Draw) -> Tensor:
        """Scalar loss of one domain's minibatch: plain cross-entropy, no penalty of the algorithm."""

    def joint_loss(self, draw: Draw) -> Tensor:
        """Scalar loss of the concatenated minibatches; called with `joint_loss="forward"` only."""


class ConcatenatedModel(ScoredModel, Protocol):
    """A model with one forward of all domains, as `domain_gradients="layerwise"` needs."""

    @property
    def module(self) -> nn.Module:
        """Whose layers hold the scored parameters."""

    @property
    def rows(self) -> Sequence[int]:
        """Images of each domain, in the order of the concatenated batch."""

    def domain_losses(self, draw_of: DrawOf) -> Tensor:
        """Each domain's loss, (n_domains,), from one forward in which every domain's rows have its own mask."""


class Score(NamedTuple):
    """Alignment: minimum cosine over pairs of domains, in [-1, 1], NaN where undefined. Loss: joint, in nats."""

    alignment: float
    loss: float

    def is_defined(self) -> bool:
        return not (math.isnan(self.alignment) or math.isnan(self.loss))


class Scorer:
    """Scores the present weights of a model; buffers and `.grad` do not change.

    Measurements stay on the parameters' device until they are read, so that the device never waits.

    Args:
        model: has at least 2 domains; a `ConcatenatedModel` for the method `layerwise`.
        scored: the parameters whose gradients are compared.
        buffers: restored after every forward.

    Raises:
        ValueError: if there are fewer than 2 domains, no parameter requires a gradient, or the method cannot split the
            model.
    """

    def __init__(
        self, model: ScoredModel, scored: Sequence[Tensor], buffers: Sequence[Tensor], method: GradientMethod = "loop"
    ) -> None:
        if model.n_domains < 2:
            raise ValueError(f"annealing compares the gradients of at least 2 domains, got {model.n_domains}")
        self._model = model
        self._scored = tuple(scored)
        self._buffers = Buffers(buffers)
        self.vectors = empty_gradients(model.n_domains, self._scored)
        """The domains' gradients, (n_domains, entries), at the last measurement; callers may overwrite them."""
        self._layerwise = None if method == "loop" else self._split(cast(ConcatenatedModel, model))

    def on(self, model: ScoredModel) -> Scorer:
        """The same network with other minibatches, in the same memory."""
        other = object.__new__(Scorer)
        other._model, other._scored = model, self._scored
        other._buffers, other.vectors = self._buffers, self.vectors
        other._layerwise = None if self._layerwise is None else other._split(cast(ConcatenatedModel, model))
        return other

    def measure(self, draw_of: DrawOf, joint_loss: JointLoss) -> Tensor:
        """(2,) in float64: alignment and joint loss."""
        losses = self.differentiate(draw_of)
        if joint_loss == "mean":
            loss = losses.mean()
        else:
            with torch.no_grad(), self._buffers.unchanged():
                loss = self._model.joint_loss(draw_of(self._model.n_domains)).double()
        return torch.stack([minimum_cosine(dot_products(self.vectors)), loss])

    def alignment(self, draw: Draw) -> Tensor:
        """The alignment with every domain under one mask, a scalar in float64."""
        self.differentiate(lambda _: draw)
        return minimum_cosine(dot_products(self.vectors))

    def differentiate(self, draw_of: DrawOf) -> Tensor:
        """Write the domains' gradients to `vectors`; their losses, (n_domains,) in float64."""
        if self._layerwise is not None:
            model = cast(ConcatenatedModel, self._model)
            with self._buffers.unchanged():
                return self._layerwise.write(lambda: model.domain_losses(draw_of), self.vectors).double()
        return domain_gradients(
            lambda domain: self._model.domain_loss(domain, draw_of(domain)),
            self._model.n_domains,
            self._scored,
            self._buffers,
            out=self.vectors,
        ).losses

    @contextmanager
    def domain_loss(self, domain: int, draw_of: DrawOf) -> Iterator[Tensor]:
        """One domain's loss, with its graph: to be differentiated inside, before the buffers that it uses go back."""
        with torch.enable_grad(), self._buffers.unchanged():
            yield self._model.domain_loss(domain, draw_of(domain))

    def _split(self, model: ConcatenatedModel) -> LayerwiseGradients:
        if not hasattr(model, "domain_losses"):
            raise ValueError("domain_gradients 'layerwise' needs a ConcatenatedModel, use 'loop'")
        return LayerwiseGradients(model.module, self._scored, model.rows)


def read_scores(measured: Sequence[Tensor]) -> list[Score]:
    """Copy the results of `Scorer.measure` from the device, all at once."""
    return [Score(*values) for values in torch.stack(list(measured)).tolist()] if measured else []


def scoring_draw(mask: Mask, candidate: int | None, forward: int) -> Draw:
    """The mask of one forward while a candidate is scored; None is the start."""
    if mask == "step":
        return STEP_MASK
    return ("start", forward) if candidate is None else ("candidate", candidate, forward)
