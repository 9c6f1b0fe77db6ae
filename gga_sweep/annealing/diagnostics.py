"""Measures the gain of a candidate search on data and masks that the search did not use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from gga_sweep.annealing.isolation import exchange, unchanged_random_state
from gga_sweep.annealing.options import GGA
from gga_sweep.annealing.scoring import STEP_MASK, Score, ScoredModel, Scorer
from gga_sweep.annealing.search import SearchOutcome

FRESH_MASKS = 4
"""Number of fresh dropout masks under which an alignment is measured again."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Alignments (minimum pairwise cosines, in [-1, 1]) before and after a candidate search; NaN where
    undefined.

    Args:
        fresh_alignment_before, fresh_alignment_after: on the step's minibatches, mean under `FRESH_MASKS` masks that
            the candidate search did not use, the same before and after.
        next_alignment_before, next_alignment_after: on the next minibatches, under their step's own mask.
    """

    fresh_alignment_before: float
    fresh_alignment_after: float
    next_alignment_before: float
    next_alignment_after: float


def diagnose(
    outcome: SearchOutcome,
    model: ScoredModel,
    next_model: ScoredModel,
    scored: Sequence[Parameter],
    perturbed: Sequence[Parameter],
    buffers: Sequence[Tensor],
    settings: GGA,
) -> Diagnosis:
    """Measure start and end of a candidate search again; to be called before the weights change further.

    The weights are moved to the start of the step and back, both by copy, so their bits do not change. Nothing else
    changes. If nothing moved, each alignment is measured once. Where the losses ignore their draws, the alignments
    under fresh masks are those of the search and are not measured again.

    Args:
        outcome: of `search_step` with the same model and parameters.
        next_model: the same network on the next step's minibatches.
        settings: of the candidate search.
    """
    scorer = Scorer(model, scored, buffers, settings.domain_gradients)
    next_scorer = scorer.on(next_model)
    known = getattr(model, "ignores_draws", False)

    def measure(found: Score) -> Tensor:
        """(2,): the mean under fresh masks, and on the next minibatches."""
        if known:
            fresh = torch.tensor(found.alignment, dtype=torch.float64, device=scored[0].device)
        else:
            fresh = torch.stack([scorer.alignment(("fresh", mask)) for mask in range(FRESH_MASKS)]).mean()
        return torch.stack([fresh, next_scorer.alignment(STEP_MASK)])

    with unchanged_random_state([*scored, *perturbed]):
        after = measure(outcome.after)
        before = after
        if outcome.chosen is not None:
            exchange(perturbed, outcome.start)
            try:
                before = measure(outcome.before)
            finally:
                exchange(perturbed, outcome.start)
    (fresh_before, next_before), (fresh_after, next_after) = torch.stack([before, after]).tolist()
    return Diagnosis(fresh_before, fresh_after, next_before, next_after)


def moved_radii(distance: float, radius: float, entries: int) -> float:
    """An L2 distance divided by that from the centre of the box to its corners, radius * sqrt(entries).

    In [0, 1] for a point of the box around the start; 1 / sqrt(3) is typical of uniform noise. 0 where nothing moved.
    """
    return distance / (radius * math.sqrt(entries)) if distance else 0.0
