"""Leave-one-domain-out cross-validation: a draw is judged by what it reaches on training domains it did not train on.

A run with test domain t is judged through its pair runs: those of the same arm, draw and trial seed whose test domains
are t and one more domain v. The score of a step is the unweighted mean, over every training domain v, of the
metric on v's training split (80 %) that the pair run of t and v reached at that step. A step that one of the pair
runs was not evaluated at (it diverged, or ended early) does not take part; a draw that lacks a pair run has no such
step. Ties and NaN: `selection.choice`. (DomainBed, domainbed/model_selection.py, `LeaveOneOutSelectionMethod`.)

Of a pair run only the scores on v are used, never those on t, so that no choice can depend on the test domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from gga_sweep.errors import Fault, InputError
from gga_sweep.records import FINAL, Cell, RunRecords
from gga_sweep.selection.choice import BestStep, highest_step
from gga_sweep.selection.declaration import Judge, Method, Reasons
from gga_sweep.selection.view import SweepView, domain_label, status_in_words

Place = tuple[str, str, frozenset[str], int]
"""A cell whose test domains stand in any order: (dataset, arm, test domains, trial seed)."""

Pairs = Mapping[Place, Mapping[int, RunRecords]]
"""Runs with two test domains: place -> draw number -> run."""


def best_step(steps: Iterable[int], left_out: Sequence[Mapping[int, float]]) -> BestStep | None:
    """The step with the highest cross-validated score; None when there is none.

    Args:
        steps: where the run was evaluated.
        left_out: one mapping a training domain: step -> score, in [0, 1], on that domain, left out of training.
    """
    return highest_step(
        (step, sum(of_domain[step] for of_domain in left_out) / len(left_out))
        for step in steps
        if left_out and all(step in of_domain for of_domain in left_out)
    )


def _judge(runs: Sequence[RunRecords], metric: str) -> Judge:
    pairs = _index_pairs(runs)

    def judge(run: RunRecords) -> BestStep | None:
        left_out = [{} if pair is None else _scores_on(domain, pair, metric) for domain, pair in _pair_runs(run, pairs)]
        return best_step(run.steps, left_out)

    return judge


def _reasons(view: SweepView) -> Callable[[Cell], Reasons]:
    """The runs of pairs that a cell's runs need and that do not exist, or are not final."""
    pairs = _index_pairs((*view.records, *view.pair_records))
    runs = view.by_cell()

    def reasons(cell: Cell) -> Reasons:
        for run in runs.get(cell, ()):
            for domain, pair in _pair_runs(run, pairs):
                if pair is None or pair.status not in FINAL:
                    state = "missing" if pair is None else status_in_words(pair.status)
                    yield f"{domain_label((*run.cell.test_domains, domain))} {state}", run.draws

    return reasons


def _index_pairs(runs: Iterable[RunRecords]) -> Pairs:
    pairs: dict[Place, dict[int, RunRecords]] = {}
    for run in runs:
        if len(run.cell.test_domains) == 2:
            of_cell = pairs.setdefault(_place(run.cell, run.cell.test_domains), {})
            of_cell.update(dict.fromkeys(run.draws, run))
    return pairs


def _pair_runs(run: RunRecords, pairs: Pairs) -> Iterator[tuple[str, RunRecords | None]]:
    """Every training domain, in dataset order, with the run that leaves it out too; none before an evaluation."""
    for domain in run.records[0].validation.domains if run.records else ():
        of_cell = pairs.get(_place(run.cell, (*run.cell.test_domains, domain)), {})
        yield domain, of_cell.get(max(run.draws))


def _scores_on(domain: str, pair: RunRecords, metric: str) -> dict[int, float]:
    """Step -> score on the domain's training split; NaN where it is undefined.

    Raises:
        InputError: it was not evaluated at every step.
    """
    found = {}
    for record in pair.records:
        score = record.test.domains[domain].train if domain in record.test.domains else None
        if score is None:
            needed = f"the scores on {domain} at every evaluation (training.evaluate: all)"
            raise InputError([Fault(pair.folder, f"needs {needed}, step {record.step} lacks it")], METHOD.name)
        value: float | None = getattr(score, metric)
        found[record.step] = math.nan if value is None else value
    return found


def _place(cell: Cell, test_domains: Iterable[str]) -> Place:
    return cell.dataset, cell.arm, frozenset(test_domains), cell.trial_seed


METHOD = Method(
    name="leave-one-domain-out",
    label="leave-one-domain-out cross-validation",
    rule="the draw and step with the highest {metric} on training domains left out of training, one at a time, "
    "averaged over them; test domains are never looked at",
    lacking="a finite {metric} on every training domain left out",
    judge=_judge,
    reasons=_reasons,
    needs_pairs=True,
    reads_tests="every",
)
