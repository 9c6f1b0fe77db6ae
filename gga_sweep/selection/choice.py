"""From scores to a step and a run: the rules for ties and NaN that every method follows.

1. Of a run, the step with the highest score; ties go to the lowest step.
2. Of a cell, the run with the highest score at that step; ties go to the highest draw number.
3. NaN and infinity never win; a run without a finite score cannot be chosen.

Each method defines the score: a metric on splits of its choice, in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BestStep:
    """The step that stands for a run.

    Args:
        step: counted from 0.
        score: by which it was chosen, in [0, 1].
        tied: how many other steps of the run reached the same score.
    """

    step: int
    score: float
    tied: int


@dataclass(frozen=True, slots=True)
class Contender:
    """A run with the step that stands for it.

    Args:
        key: the run's full key.
        draw: the highest of its draw numbers.
        best: its step.
        judged: what it is compared by: `best.score`, unless the method looks at other cells too.
    """

    key: str
    draw: int
    best: BestStep
    judged: float

    @property
    def rank(self) -> tuple[float, int, str]:
        """Higher is better. The key comes last, so that the order of the input can never decide."""
        return self.judged, self.draw, self.key


@dataclass(frozen=True, slots=True)
class Choice:
    """The run and step chosen for a cell.

    Args:
        key, draw: of the chosen run.
        best: its step.
        tied_draws: how many other runs of the cell were as good.
    """

    key: str
    draw: int
    best: BestStep
    tied_draws: int


def highest_step(points: Iterable[tuple[int, float]]) -> BestStep | None:
    """Of (step, score) in any order the step with the highest finite score (rules 1 and 3); None without one.

    >>> highest_step([(0, 0.5), (10, 0.75), (20, 0.75), (30, math.nan)])
    BestStep(step=10, score=0.75, tied=1)
    """
    best: int | None = None
    highest, tied = -math.inf, 0
    for step, score in points:
        if highest < score < math.inf:
            best, highest, tied = step, score, 0
        elif best is not None and score == highest:
            best, tied = min(best, step), tied + 1
    return None if best is None else BestStep(best, highest, tied)


def highest_run(contenders: Iterable[Contender]) -> Choice | None:
    """The run whose step has the highest score (rule 2); None without one."""
    runs = list(contenders)
    if not runs:
        return None
    chosen = max(runs, key=lambda run: run.rank)
    tied = sum(run.judged == chosen.judged for run in runs)
    return Choice(chosen.key, chosen.draw, chosen.best, tied_draws=tied - 1)
