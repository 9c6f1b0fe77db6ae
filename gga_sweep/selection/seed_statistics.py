"""Statistics of a mean over trial seeds: t with n - 1 degrees of freedom, Holm, smallest detectable mean.

The unit is the trial seed. Test domains and draws of one trial seed share its splits and minibatches, so they are
averaged first and never count as separate observations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean

LEVEL = 0.05
POWER = 0.80
ENOUGH_SEEDS = 3
"""With fewer, an interval says next to nothing: t has one degree of freedom."""
_ROUNDING = 1e-9  # a relative spread this small is due to rounding


@dataclass(frozen=True, slots=True)
class SeedValues:
    """One value a trial seed.

    Args:
        values: in the table's order of trial seeds; NaN where there is none.
    """

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Trial seeds with a value."""
        return sum(math.isfinite(value) for value in self.values)

    @property
    def expected(self) -> int:
        """Trial seeds planned."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class SeedEstimate(SeedValues):
    """A mean over trial seeds and its uncertainty. NaN where a number is undefined.

    Args:
        mean: over the trial seeds that have one.
        standard_error: sample standard deviation (ddof 1) over sqrt(n); NaN below two values.
        low, high: the 95 % interval, t with n - 1 degrees of freedom; NaN below two values, and if all values are
            equal, since they do not show how far another trial seed would lie.
        p: two-sided, of a mean of zero; NaN without an interval.
        detectable: the true mean that a two-sided test at 5 % detects with a power of 80 %, from as many trial seeds
            with as large a spread (noncentral t); NaN without an interval.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    p: float
    detectable: float

    @property
    def population_error(self) -> float:
        """The standard error with the population standard deviation (ddof 0), as in the field's tables."""
        return self.standard_error * math.sqrt(1 - 1 / self.n) if self.n > 1 else math.nan


def estimate(values: Sequence[float]) -> SeedEstimate:
    """The mean of the finite values, one a trial seed, with its t interval."""
    finite = [value for value in values if math.isfinite(value)]
    mean = fmean(finite) if finite else math.nan
    error = _standard_error(finite, mean)
    if not vary(finite):
        return SeedEstimate(tuple(values), mean, error, math.nan, math.nan, math.nan, math.nan)
    from scipy.special import stdtr, stdtrit  # a tenth of what importing `scipy.stats` takes

    freedom = len(finite) - 1
    reach = float(stdtrit(freedom, 1 - LEVEL / 2)) * error
    return SeedEstimate(
        values=tuple(values),
        mean=mean,
        standard_error=error,
        low=mean - reach,
        high=mean + reach,
        p=2 * float(stdtr(freedom, -abs(mean) / error)),
        detectable=detectable_in_errors(freedom) * error,
    )


def score_estimate(values: Sequence[float]) -> SeedEstimate:
    """The same of scores: its interval ends at 0 and 1, and there is none below `ENOUGH_SEEDS` trial seeds."""
    found = estimate(values)
    if found.n < ENOUGH_SEEDS or math.isnan(found.low):
        return replace(found, low=math.nan, high=math.nan)
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


@lru_cache
def detectable_in_errors(freedom: int, level: float = LEVEL) -> float:
    """The true mean, in standard errors, that a two-sided t test detects, with its sign, with a power of 80 %.

    Args:
        freedom: degrees of freedom, at least 1.
        level: of the test, in (0, 1).
    """
    from scipy.special import nctdtrinc, stdtrit

    return float(nctdtrinc(freedom, 1 - POWER, stdtrit(freedom, 1 - level / 2)))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment over the finite p values, each in [0, 1]; NaN stays NaN and is not counted.

    >>> holm([0.25, math.nan, 0.125])
    (0.25, nan, 0.25)
    """
    ascending = sorted((p, i) for i, p in enumerate(p_values) if math.isfinite(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(ascending):
        highest = max(highest, min(1.0, (len(ascending) - rank) * p))
        adjusted[i] = highest
    return tuple(adjusted)


def vary(values: Sequence[float]) -> bool:
    """Whether the values, all finite, differ by more than rounding."""
    return len(values) > 1 and max(values) - min(values) > _ROUNDING * max(map(abs, values))


def _standard_error(values: Sequence[float], mean: float) -> float:
    if len(values) < 2:
        return math.nan
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))
