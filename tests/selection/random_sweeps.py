"""Random sweeps with all that selection must withstand, each a function of one number.

Accuracies are multiples of 1/64 such that every mean over training domains is one too. So sums and means are exact,
runs that are as good by definition have equal floats, and ties abound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, product
from random import Random

from hypothesis import strategies as st
from made_runs import changed_run, made_run
from selection_records import NO_AGREEMENT, view

from gga_sweep.records import Cell, DomainScores, Record, RunRecords, RunStatus, Score, TestRecord, ValidationRecord
from gga_sweep.selection import SweepView

NAMES = ("art", "cartoon", "photo", "sketch", "clipart")
STEPS = (0, 10, 20)
STATUSES = [RunStatus.DONE] * 30 + [RunStatus.STOPPED] * 4 + [RunStatus.DIVERGED] * 4 + list(RunStatus)

seeds = st.integers(0, 2**40)
"""Numbers for `random_sweep`: one that fails says which sweep failed."""


@dataclass(frozen=True)
class RandomSweep:
    """Runs in random order.

    Args:
        domains: three to five.
        arms, columns, trial_seeds, draws: what was planned; a column is one test domain, now and then two.
        records: of the columns; some are missing.
        pair_records: of each pair of domains that is no column; some are missing.
    """

    domains: tuple[str, ...]
    arms: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    trial_seeds: tuple[int, ...]
    draws: tuple[int, ...]
    records: tuple[RunRecords, ...]
    pair_records: tuple[RunRecords, ...]

    @property
    def pairs(self) -> tuple[tuple[str, ...], ...]:
        return tuple(pair for pair in combinations(self.domains, 2) if pair not in self.columns)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(Cell("PACS", *where) for where in product(self.arms, self.columns, self.trial_seeds))

    @property
    def view(self) -> SweepView:
        return view(
            self.records,
            arms=self.arms,
            test_domains=self.columns,
            trial_seeds=self.trial_seeds,
            draws=dict.fromkeys(self.arms, self.draws),
            pairs=self.pairs,
            pair_records=self.pair_records,
            after_windows=15,
        )

    def with_runs(self, change: Callable[[RunRecords], RunRecords]) -> RandomSweep:
        """The same sweep with every run changed."""
        return replace(
            self, records=tuple(map(change, self.records)), pair_records=tuple(map(change, self.pair_records))
        )


def random_sweep(seed: int, not_finite: Sequence[float] = (math.nan, math.nan, math.inf, -math.inf)) -> RandomSweep:
    """Ties, NaN, infinities, steps and runs missing, unfinished and diverged runs, runs of several draws."""
    random = Random(seed)
    domains = NAMES[: random.choice([3, 3, 3, 3, 4, 5])]
    columns = [(name,) for name in domains]
    if random.random() < 0.2:
        columns.pop(random.randrange(len(columns)))
    if random.random() < 0.2:
        columns.append(random.choice(list(combinations(domains, 2))))
    random.shuffle(columns)
    arms = ("ERM", "GGA")[: random.choice([1, 1, 1, 1, 1, 2])]
    trial_seeds = (0, 1)[: random.choice([1, 1, 1, 1, 1, 2])]
    draws = tuple(range(random.choice([1, 2, 3, 3])))
    sweep = RandomSweep(domains, arms, tuple(columns), trial_seeds, draws, (), ())
    unit = math.lcm(len(domains) - 1, len(domains) - 2) / 64  # as many train a run, and a pair
    levels = random.choice([2, 3, 5])
    numbers = [unit * level for _ in range(30) for level in range(levels)] + [*not_finite]
    runs = [
        _run(random, domains, Cell("PACS", arm, test_domains, trial_seed), merged, numbers)
        for arm, trial_seed in product(arms, trial_seeds)
        for merged in _merged(random, draws)
        for test_domains in (*columns, *sweep.pairs)
        if random.random() < 0.95
    ]
    random.shuffle(runs)
    of_columns = tuple(run for run in runs if run.cell.test_domains in columns)
    of_pairs = tuple(run for run in runs if run.cell.test_domains not in columns)
    return replace(sweep, records=of_columns, pair_records=of_pairs)


def trimmed(run: RunRecords, first_step: int) -> RunRecords:
    """The run as if nothing had been evaluated before `first_step`."""
    return changed_run(run, records=tuple(one for one in run.records if not one.step < first_step))


def renumbered(run: RunRecords, names: Iterable[str], number: Callable[[], float]) -> RunRecords:
    """The run with every number on these domains another, whether it trained on them or not."""
    names = set(names)

    def other(of_domain: DomainScores, name: str) -> DomainScores:
        return DomainScores(Score(number(), number()), Score(number(), number())) if name in names else of_domain

    def changed(one: Record) -> Record:
        validation = {name: other(of_domain, name) for name, of_domain in one.validation.domains.items()}
        test = {name: other(of_domain, name) for name, of_domain in one.test.domains.items()}
        cosines = {name: number() if name in names else cosine for name, cosine in one.test.gradient_cosine.items()}
        return Record(replace(one.validation, domains=validation), TestRecord(test, cosines))

    return changed_run(run, records=tuple(map(changed, run.records)))


def _merged(random: Random, draws: Sequence[int]) -> list[tuple[int, ...]]:
    """The draw numbers, now and then two of them as one run, in any order."""
    numbers = [(draw,) for draw in draws]
    random.shuffle(numbers)
    if len(numbers) > 1 and random.random() < 0.3:
        numbers[-2:] = [tuple(sorted((*numbers[-1], *numbers[-2])))]
    return numbers


def _run(
    random: Random, domains: Sequence[str], cell: Cell, draws: tuple[int, ...], numbers: Sequence[float]
) -> RunRecords:
    status = random.choice(STATUSES)
    steps = STEPS if status is RunStatus.DONE else STEPS[: random.randrange(len(STEPS) + 1)]
    return made_run(
        key=f"{cell.test_domains} {cell.trial_seed} {draws}",  # two arms may share a run
        folder=f"folder of {cell} {draws}",
        cell=cell,
        draws=draws,
        hyperparameters={},
        status=status,
        records=tuple(_evaluation(random, domains, cell, step, numbers) for step in steps if random.random() < 0.95),
    )


def _evaluation(random: Random, domains: Sequence[str], cell: Cell, step: int, numbers: Sequence[float]) -> Record:
    drawn = iter(random.choices(numbers, k=2 * len(domains)))
    scores = {name: _scores(next(drawn), next(drawn)) for name in domains}
    test = {name: scores.pop(name) for name in cell.test_domains}
    return Record(
        ValidationRecord(step, scores, 1.0, NO_AGREEMENT, NO_AGREEMENT), TestRecord(test, dict.fromkeys(test, 0.0))
    )


@lru_cache(maxsize=4096)
def _scores(train: float, validation: float) -> DomainScores:
    return DomainScores(Score(train, 1.0), Score(validation, 1.0))
