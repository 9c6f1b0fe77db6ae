"""The test-domain oracle: the draw with the highest accuracy on the test domain itself. It peeks.

What it reports cannot be reached by anybody who does not know the labels of the test domain; it bounds what selection
could have gained. A run is judged by the accuracy on the validation splits (20 %) of its test domains, their unweighted
mean, at its last evaluation: no step is selected (DomainBed, domainbed/model_selection.py, `OracleSelectionMethod`).
Ties and NaN: `selection.choice`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gga_sweep.records import TestRecord
from gga_sweep.selection.choice import BestStep, Choice, Contender, highest_run, highest_step


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run as the oracle sees it.

    Args:
        key: the run's full key.
        draw: the highest of its draw numbers.
        evaluations: (step, record) of its test domains, by ascending step.
    """

    key: str
    draw: int
    evaluations: Sequence[tuple[int, TestRecord]]


def last_step(candidate: Candidate) -> BestStep | None:
    """The last evaluation; None without one, or where its accuracy is not finite."""
    return highest_step((step, _accuracy(record)) for step, record in candidate.evaluations[-1:])


def choose(candidates: Iterable[Candidate]) -> Choice | None:
    """The candidate with the highest accuracy at its last evaluation; None without one."""
    return highest_run(
        Contender(candidate.key, candidate.draw, best)
        for candidate in candidates
        if (best := last_step(candidate)) is not None
    )


def _accuracy(record: TestRecord) -> float:
    return sum(scores.validation.accuracy for scores in record.domains.values()) / len(record.domains)
