"""The selection methods once more, as lists of (step, accuracy) that are sorted. Slow, and shares no code with them.

1. Only runs that ended count: DONE, STOPPED, and DIVERGED unless they are excluded; of these only steps from
   `first_step` on.
2. A method gives each run points: steps with an accuracy. Those that are not finite are struck out.
3. The run stands by its highest point, of equal ones the one with the lowest step.
4. The cell takes the highest run, of equal ones the one with the highest draw number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from random_sweeps import RandomSweep, trimmed

from gga_sweep.records import Cell, RunRecords


class Pick(NamedTuple):
    """What stands for a cell, and how many other steps of the run and other runs were as good."""

    key: str
    draw: int
    step: int
    accuracy: float
    other_steps: int
    other_runs: int


Points = list[tuple[int, float]]
Judge = Callable[[RunRecords, Sequence[RunRecords]], Points]


def pick_all(
    method: str, sweep: RandomSweep, *, exclude_diverged: bool = False, first_step: int = 0
) -> dict[Cell, Pick]:
    """The pick of each cell that has one."""
    ended = ("DONE", "STOPPED") if exclude_diverged else ("DONE", "STOPPED", "DIVERGED")
    runs, pair_runs = (
        [trimmed(run, first_step) for run in some if run.status.value in ended]
        for some in (sweep.records, sweep.pair_records)
    )
    if method == "shared-draw":
        return _shared_draws(sweep, runs)
    judge = {
        "training-domain-validation": validated,
        "leave-one-domain-out": cross_validated,
        "oracle": at_the_end,
    }[method]
    picks = {cell: _pick([run for run in runs if run.cell == cell], [*runs, *pair_runs], judge) for cell in sweep.cells}
    return {cell: pick for cell, pick in picks.items() if pick is not None}


def validated(run: RunRecords, _: Sequence[RunRecords]) -> Points:
    """Each step by the mean over the training domains, on their validation splits."""
    return [(one.step, mean([s.validation.accuracy for s in one.validation.domains.values()])) for one in run.records]


def cross_validated(run: RunRecords, everyone: Sequence[RunRecords]) -> Points:
    """Each step by the mean over the training domains of what the run without that one, too, reached on it."""
    if len(run.cell.test_domains) > 1 or not run.records:
        return []
    (tested,) = run.cell.test_domains
    left_out = list(run.records[0].validation.domains)
    reached = [
        (one.step, one.test.domains[domain].train.accuracy)
        for domain in left_out
        for other in everyone
        if sorted(other.cell.test_domains) == sorted([tested, domain])
        and (other.cell.arm, other.cell.trial_seed) == (run.cell.arm, run.cell.trial_seed)
        and max(run.draws) in other.draws
        for one in other.records
    ]
    points = []
    for step in [one.step for one in run.records]:
        accuracies = [accuracy for at, accuracy in reached if at == step]
        if len(accuracies) == len(left_out):
            points.append((step, mean(accuracies)))
    return points


def at_the_end(run: RunRecords, _: Sequence[RunRecords]) -> Points:
    """The last step alone, by the mean over the test domains, on their validation splits."""
    last = max((one.step for one in run.records), default=None)
    return [
        (one.step, mean([one.test.domains[name].validation.accuracy for name in run.cell.test_domains]))
        for one in run.records
        if one.step == last
    ]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def best_point(points: Points) -> tuple[int, float, int] | None:
    """Step, accuracy and number of other steps as good."""
    finite = sorted((-accuracy, step) for step, accuracy in points if math.isfinite(accuracy))
    if not finite:
        return None
    return finite[0][1], -finite[0][0], sum(accuracy == finite[0][0] for accuracy, _ in finite[1:])


def _pick(runs: Sequence[RunRecords], everyone: Sequence[RunRecords], judge: Judge) -> Pick | None:
    standing = [(run, best) for run in runs if (best := best_point(judge(run, everyone))) is not None]
    if not standing:
        return None
    standing.sort(key=lambda one: (one[1][1], max(one[0].draws)))
    run, (step, accuracy, other_steps) = standing[-1]
    other_runs = sum(best[1] == accuracy for _, best in standing[:-1])
    return Pick(run.key, max(run.draws), step, accuracy, other_steps, other_runs)


def _shared_draws(sweep: RandomSweep, runs: Sequence[RunRecords]) -> dict[Cell, Pick]:
    """Of each arm and trial seed the draw that every test domain has a run of, by the mean of their best steps."""
    picks: dict[Cell, Pick] = {}
    for arm in sweep.arms:
        for trial_seed in sweep.trial_seeds:
            cells = [cell for cell in sweep.cells if (cell.arm, cell.trial_seed) == (arm, trial_seed)]
            ranking = []
            for draw in sweep.draws:
                alone = [
                    _pick([r for r in runs if r.cell == cell and max(r.draws) == draw], (), validated) for cell in cells
                ]
                if None not in alone:
                    ranking.append((mean([pick.accuracy for pick in alone]), draw, alone))
            if ranking:
                highest, _, alone = max(ranking, key=lambda one: one[:2])
                as_good = sum(accuracy == highest for accuracy, _, _ in ranking) - 1
                picks |= {cell: pick._replace(other_runs=as_good) for cell, pick in zip(cells, alone, strict=True)}
    return picks
