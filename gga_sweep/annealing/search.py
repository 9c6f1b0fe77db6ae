"""The search of one annealed step: score candidates near the weights, keep the best.

Source: Gradient-Guided Annealing, Ballas & Diou, CVPR 2025, arXiv 2502.20162.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import Parameter

from gga_sweep.annealing.flat import entry_count, working_dtype
from gga_sweep.annealing.isolation import unchanged_random_state
from gga_sweep.annealing.proposals import MovableWeights, Path, candidate_path, uniform_noise
from gga_sweep.annealing.scoring import Score, ScoredModel, Scorer, scoring_draw
from gga_sweep.annealing.settings import AnnealingSettings, Objective


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate that was scored.

    Args:
        path: where it lies, see `proposals`; its last index is the candidate's own.
        passed: its score is defined and its joint loss passed the gate.
        accepted: it passed and was better than the best before it (`none`: as `alignment` judges).
    """

    path: Path
    score: Score
    passed: bool
    accepted: bool


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What one annealed step found. The weights stand at the chosen point.

    Args:
        before: score at the weights the step began with.
        candidates: all that were scored, in order; none where `before` is not defined, for then nothing can win.
        chosen: index of the winning candidate; None when the weights stayed.
        distance: L2 distance the weights moved.
        start: the perturbed weights the step began with, copied.
    """

    before: Score
    candidates: tuple[Candidate, ...]
    chosen: int | None
    distance: float
    start: tuple[Tensor, ...] = field(repr=False, compare=False)

    @property
    def after(self) -> Score:
        """Score at the chosen point, as the search saw it there; `before` when the weights stayed."""
        return self.before if self.chosen is None else self.candidates[self.chosen].score

    @property
    def tried(self) -> int:
        """Candidates scored."""
        return len(self.candidates)

    @property
    def accepted(self) -> int:
        """Candidates accepted on the way; each but the last gave way to a better one."""
        return sum(candidate.accepted for candidate in self.candidates)


def search_step(
    model: ScoredModel,
    scored: Sequence[Parameter],
    perturbed: Sequence[Parameter],
    buffers: Sequence[Tensor],
    noise_generator: Callable[[int], torch.Generator],
    choice_generator: Callable[[], torch.Generator],
    settings: AnnealingSettings,
) -> SearchOutcome:
    """Search around the present weights and leave them at the best point found.

    Nothing else changes: buffers, `.grad` and torch's global random state end as they began. With no candidate
    accepted, or after an error, the weights have the bits they had.

    Args:
        model: what is scored, with this step's minibatches (the same for all candidates).
        scored: the parameters whose gradients are compared.
        perturbed: the parameters that move (`settings.perturbs` says which they should be); on them the noise is
            laid in order, so the same entries in the same order get the same noise.
        buffers: every buffer that a forward may write, in place.
        noise_generator: the generator of candidate k's noise, newly seeded at each call; it may be called more than
            once for a candidate. On the parameters' device, or the noise is copied there.
        choice_generator: the generator of the uniform choice; called with objective `none` only.
        settings: window fields are not looked at: the caller decides which step is annealed.

    Raises:
        ValueError: if there are fewer than 2 domains, nothing to perturb, or nothing that requires a gradient.
    """
    scorer = Scorer(model, scored, buffers)
    entries, dtype = entry_count(perturbed), working_dtype(perturbed)

    def noise(candidate: int) -> Tensor:
        return uniform_noise(noise_generator(candidate), entries, settings.radius, dtype)

    def score(candidate: int | None) -> Score:
        return scorer.score(lambda forward: scoring_draw(settings.mask, candidate, forward), settings.joint_loss)

    weights = MovableWeights(perturbed, noise)
    with unchanged_random_state([*scored, *perturbed]):
        try:
            return climb(score, weights, choice_generator, settings)
        except BaseException:
            weights.restore()
            raise


def climb(
    score: Callable[[int | None], Score],
    weights: MovableWeights,
    choice_generator: Callable[[], torch.Generator],
    settings: AnnealingSettings,
) -> SearchOutcome:
    """The search itself, whatever gives the scores: `score(k)` is asked when the weights stand at candidate k.

    `score(None)` is asked first, at the start. A candidate is accepted when its joint loss exceeds the reference by
    less than the tolerance and it beats the best so far; nothing that is NaN is accepted.
    """
    before = best = reference = score(None)
    best_path: Path = ()
    last_accepted: int | None = None
    candidates: list[Candidate] = []
    for index in range(settings.num_candidates if before.is_defined() else 0):
        path = candidate_path(settings.origin, index, last_accepted, best_path)
        weights.move_to(path)
        found = score(index)
        passed = found.is_defined() and found.loss - reference.loss < settings.loss_tolerance
        accepted = passed and _is_better(settings.objective, found, best)
        candidates.append(Candidate(path, found, passed, accepted))
        if accepted:
            best, best_path, last_accepted = found, path, index
            if settings.loss_reference == "accepted":
                reference = found
    chosen = last_accepted
    if settings.objective == "none" and last_accepted is not None:
        chosen = _any_that_passed(candidates, choice_generator())
    weights.move_to(() if chosen is None else candidates[chosen].path)
    return SearchOutcome(before, tuple(candidates), chosen, weights.distance(), weights.start)


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
