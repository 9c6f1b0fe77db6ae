"""One draw for all test domains: that with the highest validation accuracy on average over them. It leaks.

A run counts with its validation accuracy at its best step (`selection.training_validation`); of an arm and trial seed
the draw with the highest mean over test domains is taken, each of its runs at its own best step. A draw takes part if
it has such a run for every test domain. Ties go to the highest draw number.

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


def _contenders(candidates: Iterable[Candidate]) -> list[Contender]:
    return [
        Contender(candidate.key, candidate.draw, best)
        for candidate in candidates
        if (best := best_step(candidate.validations)) is not None
    ]


def _shared(draw: int, runs: Sequence[Contender]) -> Contender:
    """A draw as one contender, with its mean over test domains, in whatever order they come."""
    mean = math.fsum(run.best.accuracy for run in runs) / len(runs)
    return Contender(str(draw), draw, replace(runs[0].best, accuracy=mean))
