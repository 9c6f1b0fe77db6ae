"""Measures the gain of a candidate search on data and masks that the search did not use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from gga_sweep.annealing.flat import entry_count
from gga_sweep.annealing.isolation import exchange, unchanged_random_state
from gga_sweep.annealing.options import GGA
from gga_sweep.annealing.scoring import STEP_MASK, ScoredModel, Scorer
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
        moved_radii: see `moved_radii`.
    """

    fresh_alignment_before: float
    fresh_alignment_after: float
    next_alignment_before: float
    next_alignment_after: float
    moved_radii: float


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
    changes. If nothing moved, each alignment is measured once.

    Args:
        outcome: of `search_step` with the same model and parameters.
        next_model: the same network on the next step's minibatches.
        settings: of the candidate search.
    """
    distance_in_radii = moved_radii(outcome.distance, settings.radius, entry_count(perturbed))
    scorer = Scorer(model, scored, buffers, settings.domain_gradients)
    next_scorer = scorer.on(next_model)
    with unchanged_random_state([*scored, *perturbed]):
        after = _alignments(scorer, next_scorer)
        before = after
        if outcome.chosen is not None:
            exchange(perturbed, outcome.start)
            try:
                before = _alignments(scorer, next_scorer)
            finally:
                exchange(perturbed, outcome.start)
    (fresh_before, next_before), (fresh_after, next_after) = torch.stack([before, after]).tolist()
    return Diagnosis(fresh_before, fresh_after, next_before, next_after, distance_in_radii)


def moved_radii(distance: float, radius: float, entries: int) -> float:
    """An L2 distance divided by that from the centre of the box to its corners, radius * sqrt(entries).

    In [0, 1] for a point of the box around the start; 1 / sqrt(3) is typical of uniform noise. 0 where nothing moved.
    """
    return distance / (radius * math.sqrt(entries)) if distance else 0.0


def _alignments(scorer: Scorer, next_scorer: Scorer) -> Tensor:
    """(2,): the mean under fresh masks, and on the next minibatches."""
    fresh = torch.stack([scorer.alignment(("fresh", mask)) for mask in range(FRESH_MASKS)]).mean()
    return torch.stack([fresh, next_scorer.alignment(STEP_MASK)])
