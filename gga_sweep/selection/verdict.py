"""The verdict on each arm: better or worse than its baseline, or no difference shown; never more than its p allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gga_sweep.selection.contrasts import Contrast
from gga_sweep.selection.seed_statistics import ENOUGH_SEEDS, LEVEL, detectable_in_errors


class Finding(StrEnum):
    """What the trial seeds show of one arm against its baseline."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE_SHOWN = "no difference shown"
    TOO_FEW_SEEDS = "too few trial seeds"
    NO_SPREAD = "same difference in all trial seeds"
    NO_PAIRS = "no complete pair"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from one contrast.

    Args:
        contrast: the arm, its baseline, the difference and its interval.
        finding: at the 5 % level, after Holm's adjustment over the arms that were compared.
        compared: how many arms that adjustment is over.
        detectable: the smallest true difference that the design could have found, in [0, 1]: with a power of 80 %,
            from as many trial seeds with as large a spread, by a two-sided test at the level of 5 % divided by
            `compared`; NaN without an interval.
    """

    contrast: Contrast
    finding: Finding
    compared: int
    detectable: float


def verdicts(contrasts: Sequence[Contrast]) -> tuple[Verdict, ...]:
    """The verdict on each of the contrasts of one table, in their order.

    Args:
        contrasts: all of one estimand, since their `holm_p` are adjusted over each other.
    """
    compared = sum(math.isfinite(contrast.difference.p) for contrast in contrasts)
    return tuple(
        Verdict(contrast, _finding(contrast), compared, _detectable(contrast, compared)) for contrast in contrasts
    )


def _finding(contrast: Contrast) -> Finding:
    difference = contrast.difference
    if difference.n == 0:
        return Finding.NO_PAIRS
    if math.isfinite(difference.p) and contrast.holm_p <= LEVEL:
        return Finding.BETTER if difference.mean > 0 else Finding.WORSE
    if difference.n < ENOUGH_SEEDS:
        return Finding.TOO_FEW_SEEDS
    return Finding.NO_DIFFERENCE_SHOWN if math.isfinite(difference.p) else Finding.NO_SPREAD


def _detectable(contrast: Contrast, compared: int) -> float:
    difference = contrast.difference
    if math.isnan(difference.p):
        return math.nan
    return detectable_in_errors(difference.n - 1, LEVEL / compared) * difference.standard_error
