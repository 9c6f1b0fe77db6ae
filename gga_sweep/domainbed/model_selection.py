"""DomainBed's three selection methods, with their rules for ties, NaN and gaps.

Written from domainbed/model_selection.py and lib/query.py of facebookresearch/DomainBed (HEAD b93c22a). Our own methods
(`gga_sweep.selection`) differ in these rules; here DomainBed's apply, to reproduce its numbers to the last bit.

A cell is (dataset, algorithm, test domain, trial seed); of each of its draws a method selects one record:

- training-domain validation: of the runs with this one test domain the record with the highest mean of the `out`
  accuracies over the other domains; ties go to the first record in file order.
- leave-one-domain-out: per step, the mean over the other domains v of the accuracy on v (`in`) in the run that leaves
  out v too; the highest step counts, ties go to the lowest. A step takes part when every v has its record and the run
  with this one test domain has exactly one: a run repeated in its old folder loses its steps. Of several records of a
  pair the last counts.
- oracle: the last record of the highest step, with the `out` accuracy of the test domain. No early stopping.

NaN: a record with NaN wins within a draw only where it is the first candidate. Among draws it ranks last. Ties between
draws go to the highest draw number. Means are float64 sums in domain order over n, as NumPy sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gga_sweep.domainbed.results import Results, Run


@dataclass(frozen=True, slots=True)
class DomainBedCell:
    """The runs from which one is chosen; `test_domain` is its number in dataset order."""

    dataset: str
    algorithm: str
    test_domain: int
    trial_seed: int


@dataclass(frozen=True, slots=True)
class BestRecord:
    """The record of a draw that a method selected.

    Args:
        step: counted from 0.
        validation: the accuracy that it was selected by, in [0, 1] or NaN.
        test: accuracy on the training split of the test domain, in [0, 1] or NaN.
    """

    step: int
    validation: float
    test: float


@dataclass(frozen=True, slots=True)
class DomainBedChoice:
    """The chosen draw (DomainBed's hparams_seed) of a cell and its record."""

    draw: int
    best: BestRecord


@dataclass(frozen=True, slots=True)
class DomainBedMethod:
    """A selection method.

    Args:
        label: DomainBed's name for it, as its tables print it.
        best: selects the record of a draw's runs, given the test domain; returns None if there is none.
    """

    label: str
    best: Callable[[Sequence[Run], int], BestRecord | None]


Cells = Mapping[DomainBedCell, Mapping[int, Sequence[Run]]]
"""Runs by cell and draw. A run with two test domains stands in two cells."""


def cells_of(results: Results) -> Cells:
    """Cells in the order of their first record, which is the order in which DomainBed adds up."""
    cells: dict[DomainBedCell, dict[int, list[Run]]] = {}
    for run in results.runs:
        key = run.key
        for domain in key.test_domains:
            cell = DomainBedCell(key.dataset, key.algorithm, domain, key.trial_seed)
            cells.setdefault(cell, {}).setdefault(key.draw, []).append(run)
    return cells


def choose(cells: Cells, method: DomainBedMethod) -> dict[DomainBedCell, DomainBedChoice]:
    """The choice of each cell that has one, in the order of `cells`."""
    chosen = {}
    for cell, draws in cells.items():
        entered = ((draw, method.best(runs, cell.test_domain)) for draw, runs in draws.items())
        choices = [DomainBedChoice(draw, best) for draw, best in entered if best is not None]
        if choices:
            chosen[cell] = max(choices, key=_rank)
    return chosen


def _rank(choice: DomainBedChoice) -> tuple[float, int]:
    accuracy = choice.best.validation
    return (-math.inf if math.isnan(accuracy) else accuracy, choice.draw)


def _by_training_validation(runs: Sequence[Run], test_domain: int) -> BestRecord | None:
    alone = _leaving_out_only(test_domain, runs)
    if not alone:
        return None
    out = np.concatenate([run.validation_split for run in alone])
    validation = np.delete(out, test_domain, axis=1).mean(axis=1)
    return _record(alone, test_domain, validation, _first_highest(validation))


def _by_oracle(runs: Sequence[Run], test_domain: int) -> BestRecord | None:
    alone = _leaving_out_only(test_domain, runs)
    if not alone:
        return None
    steps = np.concatenate([run.steps for run in alone])
    last = len(steps) - 1 - int(np.argmax(steps[::-1]))
    return _record(alone, test_domain, np.concatenate([run.validation_split[:, test_domain] for run in alone]), last)


def _by_leave_one_out(runs: Sequence[Run], test_domain: int) -> BestRecord | None:
    alone = _leaving_out_only(test_domain, runs)
    if not alone:
        return None
    steps, first, times = np.unique(np.concatenate([run.steps for run in alone]), return_index=True, return_counts=True)
    once = times == 1
    steps, first = steps[once], first[once]
    n = alone[0].accuracies.shape[2]
    accuracies = np.zeros((len(steps), n))
    present = np.zeros((len(steps), n), dtype=bool)
    for run in runs:
        if len(run.key.test_domains) == 2:
            (other,) = set(run.key.test_domains) - {test_domain}
            at, records = _last_of_each(run.steps, steps)
            accuracies[at, other] = run.training_split[records, other]
            present[at, other] = True
    complete = np.delete(present, test_domain, axis=1).all(axis=1)
    if not complete.any():
        return None
    validation = np.delete(accuracies[complete], test_domain, axis=1).mean(axis=1)
    best = _first_highest(validation)
    test = np.concatenate([run.training_split[:, test_domain] for run in alone])
    return BestRecord(int(steps[complete][best]), float(validation[best]), float(test[first[complete][best]]))


def _leaving_out_only(test_domain: int, runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.key.test_domains == (test_domain,)]


def _record(runs: Sequence[Run], test_domain: int, validation: NDArray[np.float64], i: int) -> BestRecord:
    """Record `i` of the runs' records one after another."""
    steps = np.concatenate([run.steps for run in runs])
    test = np.concatenate([run.training_split[:, test_domain] for run in runs])
    return BestRecord(int(steps[i]), float(validation[i]), float(test[i]))


def _first_highest(accuracies: NDArray[np.float64]) -> int:
    """The rule of Python's `max`: NaN is the maximum if it is first, and never otherwise."""
    return 0 if np.isnan(accuracies[0]) else int(np.nanargmax(accuracies))


def _last_of_each(steps: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions in `wanted` (ascending, unique) of values that occur in `steps`, and their last positions there."""
    if np.array_equal(steps, wanted):  # nearly always, and a fifth of the time
        every = np.arange(len(steps))
        return every, every
    _, at, reverse = np.intersect1d(wanted, steps[::-1], return_indices=True)
    return at, len(steps) - 1 - reverse


METHODS: Mapping[str, DomainBedMethod] = MappingProxyType(
    {
        "training-domain-validation": DomainBedMethod("training-domain validation set", _by_training_validation),
        "leave-one-domain-out": DomainBedMethod("leave-one-domain-out cross-validation", _by_leave_one_out),
        "oracle": DomainBedMethod("test-domain validation set (oracle)", _by_oracle),
    }
)
"""In the order of DomainBed's tables, by our names."""
