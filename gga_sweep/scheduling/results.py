"""The results of draws for a searcher: from validation on the training domains only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gga_sweep.records import Scalar, ValidationRecord
from gga_sweep.selection.methods.training_validation import best_step

WORST = 0.0
"""The score of a run without a finite validation score: it diverged at once."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The data of a run that a searcher receives.

    Args:
        validations: its evaluations of the training domains that may be selected, by ascending step.
        stopped: whether it was stopped early.
    """

    validations: Sequence[ValidationRecord]
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one draw.

    Args:
        values: the drawn values, by dotted name.
        score: of the validation splits, in [0, 1] (for `pooled` results a rank); higher is better.
        stopped_at: the step at which it was stopped early; None if it was trained to its end.
    """

    values: Mapping[str, Scalar]
    score: float
    stopped_at: int | None = None


def result_of(values: Mapping[str, Scalar], curves: Sequence[Curve], metric: str) -> Result:
    """The result of a draw: the mean of the highest validation scores of its runs.

    If some runs were stopped early, only steps up to the earliest end count, since more steps would be an advantage.

    Args:
        curves: of the runs trained with these values, one or several (trial seeds, test domains).
        metric: by which runs are selected.
    """
    ends = [curve.validations[-1].step if curve.validations else -1 for curve in curves if curve.stopped]
    last = min(ends, default=None)
    scores = [score_at(curve.validations, metric, last) for curve in curves]
    return Result(values, math.fsum(scores) / len(scores), last)


def score_at(validations: Sequence[ValidationRecord], metric: str, step: int | None = None) -> float:
    """The highest finite validation mean up to and with a step (None: of all); `WORST` without one."""
    best = best_step((record for record in validations if step is None or record.step <= step), metric)
    return WORST if best is None else best.score
