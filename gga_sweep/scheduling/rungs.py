"""Successive halving within a cell: at each rung only the best runs continue.

The rule is that of ASHA (arXiv 1810.05934), for runs that are trained one after another: a run continues at a rung if
it is among the best 1/reduction of the runs of its cell that reached it so far, itself included. The best always
continues.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence


class RungTable:
    """The scores of one cell's runs at each rung.

    Args:
        steps: of the rungs, ascending.
        reduction: the reduction factor, 2 or more.
    """

    def __init__(self, steps: Sequence[int], reduction: int) -> None:
        self.steps = tuple(steps)
        self._reduction = reduction
        self._scores: dict[int, list[float]] = {step: [] for step in steps}

    def reached(self, step: int, score: float) -> None:
        """Add the score of a run of this cell that reached a rung, whether it continues or not."""
        bisect.insort(self._scores[step], score)

    def cutoff(self, step: int) -> float | None:
        """The score below which the next run at this rung is stopped; None if every score continues."""
        scores = self._scores[step]
        places = max(1, (len(scores) + 1) // self._reduction)
        return None if len(scores) < places else scores[-places]

    def cutoffs(self) -> dict[int, float]:
        """By step, of every rung with a cutoff."""
        return {step: cutoff for step in self.steps if (cutoff := self.cutoff(step)) is not None}


def rung_steps(grace: int, reduction: int, evaluated: Sequence[int]) -> tuple[int, ...]:
    """The steps of the rungs: after `grace` steps, after `reduction` times as many, ..., each at the next evaluation.

    Args:
        evaluated: the steps at which a run is evaluated, ascending. The last has no rung: stopping there saves nothing.
    """
    steps: list[int] = []
    trained = grace
    while (at := bisect.bisect_left(evaluated, trained - 1)) < len(evaluated) - 1:
        steps.append(evaluated[at])
        trained *= reduction
    return tuple(dict.fromkeys(steps))
