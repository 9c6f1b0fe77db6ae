"""Training-domain validation: per run the best step, per cell the best draw, by validation accuracy alone.

Validation accuracy is the unweighted mean over the training domains of the accuracy on their validation splits
(`ValidationRecord.accuracy`; DomainBed, domainbed/model_selection.py, `IIDAccuracySelectionMethod`). Ties and NaN:
`selection.choice`.

Everything here takes `ValidationRecord`s, which hold no test domain, so that no choice can depend on one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gga_sweep.records import ValidationRecord
from gga_sweep.selection.choice import BestStep, Choice, Contender, highest_run, highest_step


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


def best_step(validations: Iterable[ValidationRecord]) -> BestStep | None:
    """The step with the highest finite validation accuracy; None when there is none."""
    return highest_step([(record.step, record.accuracy) for record in validations])


def choose(candidates: Iterable[Candidate]) -> Choice | None:
    """The candidate with the highest finite validation accuracy at its best step; None without one."""
    return highest_run(
        Contender(candidate.key, candidate.draw, best)
        for candidate in candidates
        if (best := best_step(candidate.validations)) is not None
    )
