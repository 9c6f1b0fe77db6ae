"""Leave-one-domain-out cross-validation: a draw is judged by what it reaches on training domains it did not train on.

A run with test domain t is judged through its pair runs: those of the same arm, draw and trial seed whose test domains
are t and one more domain v. The accuracy of a step is the unweighted mean, over every training domain v, of the
accuracy on v's training split (80 %) that the pair run of t and v reached at that step. A step that one of the pair
runs was not evaluated at (it diverged, or ended early) does not take part; a draw that lacks a pair run has no such
step. Ties and NaN: `selection.choice`. (DomainBed, domainbed/model_selection.py, `LeaveOneOutSelectionMethod`.)

Of a pair run only the accuracies on v are taken, never those on t, so that no choice can depend on the test domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gga_sweep.records import FINAL, Cell, RunRecords
from gga_sweep.selection.choice import BestStep, Choice, Contender, highest_run, highest_step

Place = tuple[str, str, frozenset[str], int]
"""A cell whose test domains stand in any order: (dataset, arm, test domains, trial seed)."""

Pairs = Mapping[Place, Mapping[int, RunRecords]]
"""Runs with two test domains: place -> draw number -> run."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run as this method may see it.

    Args:
        key: the run's full key.
        draw: the highest of its draw numbers.
        steps: where it was evaluated.
        left_out: one mapping a training domain: step -> accuracy, in [0, 1], on that domain, left out of training.
    """

    key: str
    draw: int
    steps: Sequence[int]
    left_out: Sequence[Mapping[int, float]]


def best_step(candidate: Candidate) -> BestStep | None:
    """The step with the highest cross-validated accuracy; None when there is none."""
    return highest_step(
        (step, sum(of_domain[step] for of_domain in candidate.left_out) / len(candidate.left_out))
        for step in candidate.steps
        if candidate.left_out and all(step in of_domain for of_domain in candidate.left_out)
    )


def choose(candidates: Iterable[Candidate]) -> Choice | None:
    """The candidate with the highest cross-validated accuracy at its best step; None without one."""
    return highest_run(
        Contender(candidate.key, candidate.draw, best)
        for candidate in candidates
        if (best := best_step(candidate)) is not None
    )


def index_pairs(runs: Iterable[RunRecords]) -> Pairs:
    """The runs with two test domains, where `candidate_of` finds them."""
    pairs: dict[Place, dict[int, RunRecords]] = {}
    for run in runs:
        if len(run.cell.test_domains) == 2:
            of_cell = pairs.setdefault(_place(run.cell, run.cell.test_domains), {})
            of_cell.update(dict.fromkeys(run.draws, run))
    return pairs


def candidate_of(run: RunRecords, pairs: Pairs) -> Candidate:
    """What the method may see of a run with one test domain and of its pair runs."""
    return Candidate(
        key=run.key,
        draw=max(run.draws),
        steps=[record.step for record in run.records],
        left_out=[{} if pair is None else _accuracies_on(domain, pair) for domain, pair in _pair_runs(run, pairs)],
    )


def missing_pairs(run: RunRecords, pairs: Pairs) -> list[tuple[str, RunRecords | None]]:
    """The training domains for which the run has no final pair run, in dataset order, with what there is of it.

    They are known once the run was evaluated.
    """
    return [(domain, pair) for domain, pair in _pair_runs(run, pairs) if pair is None or pair.status not in FINAL]


def _pair_runs(run: RunRecords, pairs: Pairs) -> Iterator[tuple[str, RunRecords | None]]:
    for domain in run.records[0].validation.domains if run.records else ():
        of_cell = pairs.get(_place(run.cell, (*run.cell.test_domains, domain)), {})
        yield domain, of_cell.get(max(run.draws))


def _accuracies_on(domain: str, pair: RunRecords) -> dict[int, float]:
    """Step -> accuracy on the domain's training split, where it was evaluated."""
    return {
        record.step: record.test.domains[domain].train.accuracy
        for record in pair.records
        if domain in record.test.domains
    }


def _place(cell: Cell, test_domains: Iterable[str]) -> Place:
    return cell.dataset, cell.arm, frozenset(test_domains), cell.trial_seed
