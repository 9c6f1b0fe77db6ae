"""The test-domain oracle: the draw with the highest accuracy on the test domain itself. It peeks.

What it reports cannot be reached by anybody who does not know the labels of the test domain; it bounds what selection
could have gained. A run is judged by the accuracy on the validation splits (20 %) of its test domains, their unweighted
mean, at its last evaluation: no step is selected (DomainBed, domainbed/model_selection.py, `OracleSelectionMethod`).
Ties and NaN: `selection.choice`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gga_sweep.records import RunRecords
from gga_sweep.selection.accuracy import accuracy_on_test_domains
from gga_sweep.selection.choice import BestStep, Choice, Contender, highest_run, highest_step


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run as the oracle sees it.

    Args:
        key: the run's full key.
        draw: the highest of its draw numbers.
        accuracies: (step, accuracy on the validation splits of its test domains, in [0, 1]), by ascending step; NaN
            where one of them lacks.
    """

    key: str
    draw: int
    accuracies: Sequence[tuple[int, float]]


def last_step(candidate: Candidate) -> BestStep | None:
    """The last evaluation; None without one, or where its accuracy is not finite."""
    return highest_step(candidate.accuracies[-1:])


def choose(candidates: Iterable[Candidate]) -> Choice | None:
    """The candidate with the highest accuracy at its last evaluation; None without one."""
    return highest_run(
        Contender(candidate.key, candidate.draw, best)
        for candidate in candidates
        if (best := last_step(candidate)) is not None
    )


def candidate_of(run: RunRecords) -> Candidate:
    """What the oracle sees of a run."""
    accuracies = [(record.step, accuracy_on_test_domains(record, run.cell, "validation")) for record in run.records]
    return Candidate(run.key, max(run.draws), accuracies)
