"""The candidate search of one annealed step: score candidates near the weights, keep the best.

Source: Gradient-Guided Annealing, Ballas & Diou, CVPR 2025, arXiv 2502.20162.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import Parameter

from gga_sweep.annealing.graphs import GraphedMeasure
from gga_sweep.annealing.guided import ascent_signs
from gga_sweep.annealing.isolation import unchanged_random_state
from gga_sweep.annealing.options import GGA, Objective
from gga_sweep.annealing.proposals import (
    Displacement,
    MovableWeights,
    Path,
    candidate_path,
    halved_step,
    random_signs,
    uniform_noise,
)
from gga_sweep.annealing.scoring import Draw, Score, ScoredModel, Scorer, read_scores, scoring_draw


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate that was scored.

    Args:
        path: its position, see `proposals`. Random: the last index is that of the candidate. Along the gradient: the
            number of halvings of the step, plus `num_candidates` for the random signs of the control `none`.
        passed: whether its score is defined and its joint loss within the tolerance.
        accepted: whether it passed and was better than the best before it (`none`: by the alignment).
    """

    path: Path
    score: Score
    passed: bool
    accepted: bool


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """The result of one annealed step. The weights are at the chosen point.

    Args:
        before: score at the weights at the start of the step.
        candidates: all scored candidates, in order; none where `before` is undefined, since none can be accepted then.
        chosen: index of the chosen candidate; None if the weights did not move.
        distance: L2 distance that the weights moved.
        start: a copy of the perturbed weights at the start of the step; empty where no candidate was tried.
    """

    before: Score
    candidates: tuple[Candidate, ...]
    chosen: int | None
    distance: float
    start: tuple[Tensor, ...] = field(repr=False, compare=False)

    @property
    def after(self) -> Score:
        """Score at the chosen point, as measured by the candidate search; `before` if the weights did not move."""
        return self.before if self.chosen is None else self.candidates[self.chosen].score

    @property
    def tried(self) -> int:
        """Number of candidates scored."""
        return len(self.candidates)

    @property
    def accepted(self) -> int:
        """Number of candidates accepted; a later one was better than each but the last."""
        return sum(candidate.accepted for candidate in self.candidates)


def search_step(
    model: ScoredModel,
    scored: Sequence[Parameter],
    perturbed: Sequence[Parameter],
    buffers: Sequence[Tensor],
    noise_generator: Callable[[int], torch.Generator],
    choice_generator: Callable[[], torch.Generator],
    settings: GGA,
) -> SearchOutcome:
    """Search for a better point around the present weights, and move the weights to the best one.

    Nothing else changes: buffers, `.grad` and torch's global random state are restored. If no candidate is accepted,
    and after an error, the weights keep their bits. Where a domain's gradient is zero or not finite,
    the alignment is undefined: no candidate is tried.

    Args:
        model: the scored model, with this step's minibatches (the same for all candidates).
        scored: the parameters whose gradients are compared.
        perturbed: the parameters that move, to be chosen by `settings.perturbs`. Noise is drawn in their order, so the
            same entries in the same order get the same noise.
        buffers: every buffer that a forward may write, in place.
        noise_generator: returns the newly seeded generator of candidate k's noise; may be called more than once for a
            candidate. If it is not on the parameters' device, the noise is copied there.
        choice_generator: returns the generator of the random choice; called with objective `none` only.
        settings: the window is not used: the caller decides which step is annealed.

    Raises:
        ValueError: if there are fewer than 2 domains, nothing to perturb, or nothing that requires a gradient; if the
            radius vanishes in the weights' precision; if direction `gradient` meets an operation without a second
            derivative; if `settings.domain_gradients` does not fit the model; or if `settings.cuda_graph` finds no
            parameter on a CUDA device.
    """
    if settings.cuda_graph and not scored[0].is_cuda:
        raise ValueError(f"cuda_graph needs the parameters on a CUDA device, they are on {scored[0].device}")
    scorer = Scorer(model, scored, buffers, settings.domain_gradients)

    def draw_of(candidate: int | None) -> Callable[[int], Draw]:
        return lambda forward: scoring_draw(settings.mask, candidate, forward)

    def measure(candidate: int | None) -> Tensor:
        return scorer.measure(draw_of(candidate), settings.joint_loss)

    graphed = GraphedMeasure(partial(measure, None))

    def measure_again(candidate: int) -> Tensor:
        return graphed() if settings.cuda_graph else measure(candidate)

    def noise(candidate: int) -> Displacement:
        return uniform_noise(noise_generator(candidate), perturbed, settings.radius)

    def halved(index: int) -> Displacement:
        if index < settings.num_candidates:
            return halved_step(signs, perturbed, settings.radius, index)
        control = random_signs(choice_generator(), perturbed) * signs  # where a sign is 0 neither moves
        return halved_step(control, perturbed, settings.radius, index - settings.num_candidates)

    weights = MovableWeights(perturbed, noise if settings.direction == "random" else halved)
    with unchanged_random_state([*scored, *perturbed]):
        try:
            (before,) = read_scores([measure(None)])
            if not before.is_defined():
                return SearchOutcome(before, (), None, 0.0, ())
            if settings.direction == "random":
                return climb(before, measure_again, weights, choice_generator, settings)
            signs = ascent_signs(settings.objective, scorer, draw_of(None), scored, perturbed)
            return backtrack(before, measure, weights, settings)
        except BaseException:
            weights.restore()
            raise


def climb(
    before: Score,
    measure: Callable[[int], Tensor],
    weights: MovableWeights,
    choice_generator: Callable[[], torch.Generator],
    settings: GGA,
) -> SearchOutcome:
    """The search of random candidates. `measure(k)` returns the score of candidate k, at which the weights are then.

    A candidate is accepted if its joint loss exceeds the reference by less than the tolerance and it is better than the
    best so far; NaN is never accepted. With origin `start` no candidate depends on earlier decisions: all are measured
    before any score is read, so that the device never waits.
    """
    judge = _Judge(before, settings)
    at_once = settings.num_candidates if settings.origin == "start" else 1
    for first in range(0, settings.num_candidates, at_once):
        group = range(first, first + at_once)
        measured = []
        for index in group:
            weights.move_to(judge.path_of(index))
            measured.append(measure(index))
        for index, found in zip(group, read_scores(measured), strict=True):
            judge.take(judge.path_of(index), found)
    chosen = judge.last_accepted
    if settings.objective == "none" and chosen is not None:
        chosen = _any_that_passed(judge.candidates, choice_generator())
    return judge.outcome(chosen, weights)


def backtrack(before: Score, measure: Callable[[int], Tensor], weights: MovableWeights, settings: GGA) -> SearchOutcome:
    """The search along the gradient: the whole step, half, a quarter, ... until one is accepted by the rule of `climb`.

    Objective `none` then moves as far along random signs, if the joint loss there is within the tolerance.
    """
    judge = _Judge(before, settings)
    while judge.last_accepted is None and len(judge.candidates) < settings.num_candidates:
        halvings = len(judge.candidates)
        weights.move_to((halvings,))
        judge.take((halvings,), *read_scores([measure(halvings)]))
    chosen = judge.last_accepted
    if settings.objective == "none" and chosen is not None:
        control = (settings.num_candidates + chosen,)
        weights.move_to(control)
        (found,) = read_scores([measure(len(judge.candidates))])
        passed = judge.passes(found)
        judge.candidates.append(Candidate(control, found, passed, accepted=False))
        chosen = len(judge.candidates) - 1 if passed else None
    return judge.outcome(chosen, weights)


class _Judge:
    """Accepts or rejects the candidates of one step, in order."""

    def __init__(self, before: Score, settings: GGA) -> None:
        self._settings = settings
        self._before = self._best = self._reference = before
        self._best_path: Path = ()
        self.last_accepted: int | None = None
        self.candidates: list[Candidate] = []

    def path_of(self, index: int) -> Path:
        """The position of a random candidate, after the decisions so far."""
        return candidate_path(self._settings.origin, index, self.last_accepted, self._best_path)

    def passes(self, found: Score) -> bool:
        """Whether the score is defined and its joint loss within the tolerance."""
        tolerance = self._settings.loss_tolerance
        if self._settings.loss_gate == "relative" and not math.isinf(tolerance):
            tolerance *= abs(self._reference.loss)
        return found.is_defined() and found.loss - self._reference.loss < tolerance

    def take(self, path: Path, found: Score) -> None:
        """Accept or reject the next candidate."""
        passed = self.passes(found)
        accepted = passed and _is_better(self._settings.objective, found, self._best)
        if accepted:
            self._best, self._best_path, self.last_accepted = found, path, len(self.candidates)
            if self._settings.loss_reference == "accepted":
                self._reference = found
        self.candidates.append(Candidate(path, found, passed, accepted))

    def outcome(self, chosen: int | None, weights: MovableWeights) -> SearchOutcome:
        """Move the weights to the chosen candidate, or back to the start."""
        weights.move_to(() if chosen is None else self.candidates[chosen].path)
        return SearchOutcome(self._before, tuple(self.candidates), chosen, weights.distance(), weights.start)


def _is_better(objective: Objective, found: Score, best: Score) -> bool:
    if objective == "anti":
        return found.alignment < best.alignment
    if objective == "loss":
        return found.loss < best.loss
    return found.alignment > best.alignment


def _any_that_passed(candidates: Sequence[Candidate], generator: torch.Generator) -> int:
    passed = [index for index, candidate in enumerate(candidates) if candidate.passed]
    place = torch.randint(len(passed), (1,), generator=generator, device=generator.device)
    return passed[int(place)]
