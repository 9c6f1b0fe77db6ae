"""Successive halving within a cell: at each rung the best of those that reached it there go on.

The rule is that of ASHA (arXiv 1810.05934), for runs that come one after another: at a rung a run goes on if it is
among the best 1/reduction of those of its cell that reached it so far, itself included; the best always is.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence


class RungTable:
    """The scores of one cell's runs at each rung.

    Args:
        steps: of the rungs, ascending.
        reduction: 2 or more: one in so many goes on.
    """

    def __init__(self, steps: Sequence[int], reduction: int) -> None:
        self.steps = tuple(steps)
        self._reduction = reduction
        self._scores: dict[int, list[float]] = {step: [] for step in steps}

    def reached(self, step: int, score: float) -> None:
        """A run of this cell came to a rung with this score, whether it goes on or not."""
        bisect.insort(self._scores[step], score)

    def cutoff(self, step: int) -> float | None:
        """The score below which the next run at this rung is ended; None while any goes on."""
        scores = self._scores[step]
        places = max(1, (len(scores) + 1) // self._reduction)
        return None if len(scores) < places else scores[-places]

    def cutoffs(self) -> dict[int, float]:
        """By step, of every rung that ends a run."""
        return {step: cutoff for step in self.steps if (cutoff := self.cutoff(step)) is not None}


def rung_steps(grace: int, reduction: int, evaluated: Sequence[int]) -> tuple[int, ...]:
    """The steps of the rungs: after `grace` steps, after `reduction` times as many, ..., each at the next evaluation.

    Args:
        evaluated: the steps at which a run is evaluated, ascending. The last has no rung: nothing is left to save.
    """
    steps: list[int] = []
    trained = grace
    while (at := bisect.bisect_left(evaluated, trained - 1)) < len(evaluated) - 1:
        steps.append(evaluated[at])
        trained *= reduction
    return tuple(dict.fromkeys(steps))
