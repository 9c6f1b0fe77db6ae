"""How good the selected run would have been with fewer draws: the expected best against the search budget.

A cell has n selectable runs, ranked from worst to best by the table's method. Of k runs drawn from them, each set of k
equally likely, the i-th worst is the best with probability C(i-1, k-1) / C(n, k): it is drawn, with k-1 of the i-1
below it. The expected test score of the run selected among k is the mean of the runs' test scores under these
weights: their plain mean at k = 1, the score of the selected run at k = n. Ranking and scores are those of the
table; nothing is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from statistics import fmean

from gga_sweep.records import Cell, RunRecords
from gga_sweep.selection.methods import METHODS
from gga_sweep.selection.seed_statistics import SeedEstimate, score_estimate
from gga_sweep.selection.select import contenders
from gga_sweep.selection.table import Table
from gga_sweep.selection.tested import score_on_test_domains
from gga_sweep.selection.view import SweepView


@dataclass(frozen=True, slots=True)
class SearchBudget:
    """One arm.

    Args:
        arm: its name.
        scores: for k = 1, 2, ... draws a cell, the expected score of the selected run on the test domains, in
            [0, 1]: mean over test domains within a trial seed, one value a trial seed, NaN if a test domain has no run
            to select; intervals as in `score_estimate`. k ends at the number of selectable runs in the smallest cell
            of the other trial seeds.
        largest_cell: how many selectable runs the largest of those cells has.
        seconds_a_draw: device-seconds of one draw in one cell: mean over the arm's selectable runs, plus their share of
            the runs of pairs if the method validates by pairs. NaN if no time is known.
        left_out: runs of the arm that cannot be selected.
    """

    arm: str
    scores: tuple[SeedEstimate, ...]
    largest_cell: int
    seconds_a_draw: float
    left_out: int

    @property
    def draws(self) -> range:
        """The budgets k that `scores` are of."""
        return range(1, len(self.scores) + 1)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A selectable run.

    Args:
        score: on its test domains at the step that stands for it, in [0, 1]; NaN if unknown.
        seconds: device-seconds it took.
    """

    score: float
    seconds: float


def search_budgets(view: SweepView, table: Table) -> tuple[SearchBudget, ...]:
    """Every arm with several selectable runs in each cell, in the order of the arms.

    Arms whose draws a user's own searcher made are absent: it chose each draw by those before it, so sets of k are not
    equally likely.

    Args:
        view: the sweep.
        table: its table, built from `view`.
    """
    cells = _ranked_cells(view, table)
    budgets = (_budget(view, table, arm, cells) for arm in view.arms if arm not in view.searched)
    return tuple(budget for budget in budgets if len(budget.draws) > 1)


@lru_cache
def weights(n: int, k: int) -> tuple[float, ...]:
    """The probability that the i-th worst of n is the best of k drawn without replacement, i = k .. n; they sum to 1.

    The k - 1 worst never are. Exact up to the division, so that n may be large.

    >>> weights(4, 2)
    (0.16666666666666666, 0.3333333333333333, 0.5)
    """
    return tuple(math.comb(i - 1, k - 1) / math.comb(n, k) for i in range(k, n + 1))


def expected_best(ascending: Sequence[float], k: int) -> float:
    """Mean of the value of the best of k drawn without replacement.

    Args:
        ascending: one value a run, from the worst run to the best.
        k: 1 .. their number.

    >>> expected_best([0.25, 0.5, 0.75], 1), expected_best([0.25, 0.5, 0.75], 3)
    (0.5, 0.75)
    """
    return math.fsum(map(mul, weights(len(ascending), k), ascending[k - 1 :]))


def _budget(view: SweepView, table: Table, arm: str, cells: Mapping[Cell, Sequence[_Ranked]]) -> SearchBudget:
    seeds = [
        [cells.get(Cell(view.dataset, arm, column, seed), ()) for column in view.test_domains]
        for seed in view.trial_seeds
    ]
    whole = [of_seed for of_seed in seeds if all(of_seed)]
    sizes = [len(ranked) for of_seed in whole for ranked in of_seed]
    every_ranked = [one for of_seed in seeds for ranked in of_seed for one in ranked]
    return SearchBudget(
        arm=arm,
        scores=tuple(
            score_estimate([_expected_of_seed(of_seed, k) for of_seed in seeds])
            for k in range(1, min(sizes, default=0) + 1)
        ),
        largest_cell=max(sizes, default=0),
        seconds_a_draw=_seconds_a_draw(view, table, arm, every_ranked),
        left_out=sum(run.cell.arm == arm for run in view.records) - len(every_ranked),
    )


def _expected_of_seed(of_seed: Sequence[Sequence[_Ranked]], k: int) -> float:
    """The mean over the test domains; NaN if one has no run to select."""
    if not all(of_seed):
        return math.nan
    return fmean(expected_best([one.score for one in ranked], k) for ranked in of_seed)


def _seconds_a_draw(view: SweepView, table: Table, arm: str, ranked: Sequence[_Ranked]) -> float:
    timed = [one.seconds for one in ranked if one.seconds]
    if not timed:
        return math.nan
    pairs = view.pair_records if METHODS[table.method].needs_pairs else ()
    validating = math.fsum(_seconds(run) for run in pairs if run.cell.arm == arm)
    return fmean(timed) + validating / len(ranked)


def _ranked_cells(view: SweepView, table: Table) -> dict[Cell, list[_Ranked]]:
    """The selectable runs of each cell, worst first."""
    runs: dict[Cell, list[RunRecords]] = {cell: [] for cell in view.cells()} | view.by_cell()
    by_key = {(cell, run.key): run for cell, of_cell in runs.items() for run in of_cell}
    standing = contenders(
        runs,
        view.pair_records,
        table.method,
        metric=table.metric,
        exclude_diverged=table.exclude_diverged,
        first_step=table.first_step,
    )
    return {
        cell: [
            _ranked(by_key[cell, one.key], one.best.step, table.metric)
            for one in sorted(of_cell, key=lambda one: one.rank)
        ]
        for cell, of_cell in standing.items()
    }


def _ranked(run: RunRecords, step: int, metric: str) -> _Ranked:
    return _Ranked(score_on_test_domains(run.record_at(step), run.cell, metric), _seconds(run))


def _seconds(run: RunRecords) -> float:
    return math.fsum(run.seconds.values())
