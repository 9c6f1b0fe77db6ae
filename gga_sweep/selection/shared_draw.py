"""One draw for all test domains: that with the highest validation accuracy on average over them. It leaks.

A run counts with its validation accuracy at its best step (`selection.training_validation`); of an arm and trial seed
the draw with the highest mean over test domains is taken, each of its runs at its own best step. A draw takes part if
it has such a run for every test domain. Ties go to the highest draw number; means that are equal to twelve digits are
tied, for the same accuracies summed in two ways differ in the last.

A test domain is a training domain of its neighbours, so its labels help to choose the hyperparameters it is tested
with: the numbers are for the protocol that shares hyperparameters, and not comparable with the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from gga_sweep.selection.choice import Choice, Contender, highest_run
from gga_sweep.selection.training_validation import Candidate, best_step


def choose(candidates: Mapping[tuple[str, ...], Sequence[Candidate]]) -> dict[tuple[str, ...], Choice]:
    """The runs of the best draw by test domains; empty if no draw has a run for each of them.

    Args:
        candidates: of one arm and trial seed, by test domains: every one that is planned, with or without runs.
    """
    contenders = {
        test_domains: {run.draw: run for run in _contenders(of_domain)}
        for test_domains, of_domain in candidates.items()
    }
    shared = set.intersection(*(set(of_domain) for of_domain in contenders.values())) if contenders else set()
    means = [_shared(draw, [of_domain[draw] for of_domain in contenders.values()]) for draw in shared]
    chosen = highest_run(means)
    if chosen is None:
        return {}
    return {
        test_domains: Choice((run := of_domain[chosen.draw]).key, run.draw, run.best, chosen.tied_draws)
        for test_domains, of_domain in contenders.items()
    }


def mean_over_test_domains(accuracies: Iterable[float]) -> float:
    """What a draw is judged by: of accuracies in [0, 1], in any order."""
    values = [*accuracies]
    return round(math.fsum(values) / len(values), 12)


def _contenders(candidates: Iterable[Candidate]) -> list[Contender]:
    return [
        Contender(candidate.key, candidate.draw, best)
        for candidate in candidates
        if (best := best_step(candidate.validations)) is not None
    ]


def _shared(draw: int, runs: Sequence[Contender]) -> Contender:
    """A draw as one contender, with its mean over test domains, in whatever order they come."""
    mean = mean_over_test_domains(run.best.accuracy for run in runs)
    return Contender(str(draw), draw, replace(runs[0].best, accuracy=mean))
