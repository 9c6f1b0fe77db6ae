"""Training-domain validation: per run the best step, per cell the best draw, by validation accuracy alone.

The rules (DomainBed, domainbed/model_selection.py, `IIDAccuracySelectionMethod`):

1. Validation accuracy is the unweighted mean over the training domains (`ValidationRecord.accuracy`).
2. Of a run, the step with the highest one; ties go to the lowest step.
3. Of a cell, the run with the highest such accuracy; ties go to the highest draw number.
4. NaN and infinity never win; a run without a finite validation accuracy cannot be selected.

Everything here takes `ValidationRecord`s, which hold no test domain, so that no choice can depend on one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gga_sweep.records import ValidationRecord


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run as selection may see it.

    Args:
        key: the run's full key.
        draw: the highest of its draw numbers.
        validations: its evaluations of the training domains, in any order.
    """

    key: str
    draw: int
    validations: Sequence[ValidationRecord]


@dataclass(frozen=True, slots=True)
class BestStep:
    """The step of a run that selection takes.

    Args:
        step: counted from 0.
        accuracy: its validation accuracy, in [0, 1].
        tied: how many other steps of the run reached the same accuracy.
    """

    step: int
    accuracy: float
    tied: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The run and step chosen for a cell.

    Args:
        key, draw: of the chosen candidate.
        best: its step.
        tied_draws: how many other candidates reached the same accuracy.
    """

    key: str
    draw: int
    best: BestStep
    tied_draws: int


def best_step(validations: Iterable[ValidationRecord]) -> BestStep | None:
    """The step with the highest finite validation accuracy (rules 2 and 4); None when there is none."""
    finite = [(accuracy, record.step) for record in validations if math.isfinite(accuracy := record.accuracy)]
    if not finite:
        return None
    highest = max(accuracy for accuracy, _ in finite)
    steps = [step for accuracy, step in finite if accuracy == highest]
    return BestStep(step=min(steps), accuracy=highest, tied=len(steps) - 1)


def choose(candidates: Iterable[Candidate]) -> Choice | None:
    """The candidate with the highest finite validation accuracy at its best step (rules 3 and 4); None without one."""
    reached = [(best, candidate) for candidate in candidates if (best := best_step(candidate.validations)) is not None]
    if not reached:
        return None
    highest = max(best.accuracy for best, _ in reached)
    tied = [(candidate.draw, candidate.key, best) for best, candidate in reached if best.accuracy == highest]
    # The key stands behind the draw only so that the order of the input can never decide.
    draw, key, best = max(tied, key=lambda entry: entry[:2])
    return Choice(key=key, draw=draw, best=best, tied_draws=len(tied) - 1)
