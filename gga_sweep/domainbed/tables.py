"""The numbers of DomainBed's tables: per method one table a dataset, and one of averages over the datasets.

Written from domainbed/scripts/collect_results.py of facebookresearch/DomainBed (HEAD b93c22a): mean over trial seeds of
the chosen runs' test accuracy, with the population standard deviation (ddof 0) over sqrt(n). Its averages over datasets
take, trial seed by trial seed, whatever test domains there are; the number is kept here, and marked incomplete.

Datasets that DomainBed does not have, and drops, have separate tables (`Block.foreign`), so that its are unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gga_sweep.domainbed.model_selection import METHODS, DomainBedCell, DomainBedChoice, cells_of, choose
from gga_sweep.domainbed.registry import ALGORITHMS, DOMAINS
from gga_sweep.domainbed.results import DOMAINBED, Results


@dataclass(frozen=True, slots=True)
class DomainBedEntry:
    """Mean and standard error in percent.

    Args:
        mean: NaN where a chosen run's test accuracy is NaN; None where there is nothing, which prints as X.
        error: standard error; None as `mean`, and for an average over columns, which has none.
        n: trial seeds in it (of an average over columns, columns).
        incomplete: trial seeds or test domains that the algorithm has runs of are missing from the number.
    """

    mean: float | None
    error: float | None
    n: int
    incomplete: bool


@dataclass(frozen=True, slots=True)
class DomainBedTable:
    """Algorithms by test domains of a dataset, or by datasets.

    Args:
        dataset: None for the averages.
        columns: labels of the test domains, or names of the datasets.
        rows: by algorithm, in order; one entry a column and, last, their average.
    """

    dataset: str | None
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[DomainBedEntry, ...]]


@dataclass(frozen=True, slots=True)
class Block:
    """The tables of one method, for DomainBed's datasets or (`foreign`) for the others; averages last."""

    method: str
    foreign: bool
    tables: tuple[DomainBedTable, ...]


@dataclass(frozen=True, slots=True)
class DomainBedTables:
    """All tables of a tree.

    Args:
        algorithms: DomainBed's own in its order, then the others in the order of their first record.
        blocks: by method; the foreign block of a method, if any, follows its own.
        choices: the selected records behind the numbers, by method.
        missing: cells without a choice of algorithms and trial seeds that the dataset has runs of, by method.
    """

    algorithms: tuple[str, ...]
    blocks: tuple[Block, ...]
    choices: Mapping[str, Mapping[DomainBedCell, DomainBedChoice]]
    missing: Mapping[str, tuple[DomainBedCell, ...]]


def build_tables(results: Results) -> DomainBedTables:
    """Choose by each method and aggregate as DomainBed does."""
    cells = cells_of(results)
    algorithms = _in_order(dict.fromkeys(run.key.algorithm for run in results.runs), ALGORITHMS)
    known = [name for name in DOMAINS if name in results.domains]
    foreign = sorted(set(results.domains) - set(DOMAINS))
    expected = _expected(results)
    blocks = []
    choices = {}
    missing = {}
    for name, method in METHODS.items():
        if name == "leave-one-domain-out" and not can_leave_one_out(results):
            continue
        choices[name] = choose(cells, method)
        missing[name] = tuple(cell for cell in expected if cell not in choices[name])
        table = _Tabulation(choices[name], frozenset(missing[name]), algorithms, results.domains)
        blocks += [
            Block(name, strange, (*map(table.of_dataset, datasets), table.of_averages(datasets)))
            for strange, datasets in ((False, known), (True, foreign))
            if datasets
        ]
    return DomainBedTables(tuple(algorithms), tuple(blocks), choices, missing)


def can_leave_one_out(results: Results) -> bool:
    """Whether there are tables of that method: without a run that leaves out two domains, for DomainBed's alone."""
    return any(run.key.program == DOMAINBED or len(run.key.test_domains) == 2 for run in results.runs)


def domain_labels(dataset: str, n: int) -> tuple[str, ...]:
    """DomainBed's labels of the domains, `env0`, `env1`, ... of the `n` of a dataset that it does not have."""
    return DOMAINS.get(dataset, tuple(f"env{i}" for i in range(n)))


def _in_order(names: Iterable[str], order: Sequence[str]) -> list[str]:
    names = list(names)
    return [name for name in order if name in names] + [name for name in names if name not in order]


def _expected(results: Results) -> list[DomainBedCell]:
    """Every test domain of a dataset with every trial seed that an algorithm has runs of there."""
    seeds: dict[tuple[str, str], set[int]] = {}
    for run in results.runs:
        seeds.setdefault((run.key.dataset, run.key.algorithm), set()).add(run.key.trial_seed)
    return [
        DomainBedCell(dataset, algorithm, domain, seed)
        for (dataset, algorithm), of_it in seeds.items()
        for domain in range(max(results.domains[dataset], len(DOMAINS.get(dataset, ()))))
        for seed in sorted(of_it)
    ]


@dataclass(frozen=True, slots=True)
class _Tabulation:
    chosen: Mapping[DomainBedCell, DomainBedChoice]
    missing: frozenset[DomainBedCell]
    algorithms: Sequence[str]
    domains: Mapping[str, int]

    def of_dataset(self, dataset: str) -> DomainBedTable:
        labels = domain_labels(dataset, self.domains[dataset])
        rows = {
            algorithm: _with_average([self._of_domain(dataset, algorithm, domain) for domain in range(len(labels))])
            for algorithm in self.algorithms
        }
        return DomainBedTable(dataset, labels, rows)

    def of_averages(self, datasets: Sequence[str]) -> DomainBedTable:
        rows = {
            algorithm: _with_average([self._of_algorithm(dataset, algorithm) for dataset in datasets])
            for algorithm in self.algorithms
        }
        return DomainBedTable(None, tuple(datasets), rows)

    def _of_domain(self, dataset: str, algorithm: str, domain: int) -> DomainBedEntry:
        values = [
            choice.best.test
            for cell, choice in self.chosen.items()
            if (cell.dataset, cell.algorithm, cell.test_domain) == (dataset, algorithm, domain)
        ]
        incomplete = any(
            (cell.dataset, cell.algorithm, cell.test_domain) == (dataset, algorithm, domain) for cell in self.missing
        )
        return _entry(values, incomplete)

    def _of_algorithm(self, dataset: str, algorithm: str) -> DomainBedEntry:
        by_seed: dict[int, list[float]] = {}
        for cell, choice in self.chosen.items():
            if (cell.dataset, cell.algorithm) == (dataset, algorithm):
                by_seed.setdefault(cell.trial_seed, []).append(choice.best.test)
        incomplete = any((cell.dataset, cell.algorithm) == (dataset, algorithm) for cell in self.missing)
        return _entry([float(np.mean(by_seed[seed])) for seed in sorted(by_seed)], incomplete)


def _entry(values: Sequence[float], incomplete: bool) -> DomainBedEntry:
    """Over the values in the order given: the last bit depends on it."""
    if not values:
        return DomainBedEntry(None, None, 0, incomplete)
    mean = 100 * np.mean(values)
    error = 100 * np.std(np.array(values) / np.sqrt(len(values)))
    return DomainBedEntry(float(mean), float(error), len(values), incomplete)


def _with_average(entries: Sequence[DomainBedEntry]) -> tuple[DomainBedEntry, ...]:
    """The entries and, behind them, their mean: without a standard error, and X where one of them is."""
    total = 0.0
    means = [entry.mean for entry in entries if entry.mean is not None]
    for mean in means:  # not sum(), which from Python 3.12 on rounds otherwise
        total += mean
    average = total / len(means) if len(means) == len(entries) else None
    return (*entries, DomainBedEntry(average, None, len(means), any(entry.incomplete for entry in entries)))
