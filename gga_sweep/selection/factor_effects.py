"""Which factor matters: how far the scores at a factor's levels lie apart, beyond what trial seeds explain.

A factor has several levels at equal settings otherwise, wherever in the sweep file its arms stand. Its levels are
compared within trial seeds: two-way layout without interaction, trial seeds as blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import correlation

import numpy as np
from numpy.typing import NDArray

from gga_sweep.records import Scalar
from gga_sweep.selection.annealing_effect import AlignmentAndScore
from gga_sweep.selection.seed_statistics import ENOUGH_SEEDS, LEVEL, SeedEstimate, estimate, holm, vary
from gga_sweep.selection.table import Table
from gga_sweep.selection.view import SweepView

PERMUTATIONS = 10_000
WHAT_AN_ARM_IS = frozenset({"algorithm", "annealing", "draws"})
"""Settings that must agree, and are no factors."""
FEWEST_ARMS = 4
"""Below it, a rank correlation over arms says nothing."""


@dataclass(frozen=True, slots=True)
class FactorEffect:
    """One factor at equal settings otherwise. NaN where a number is undefined.

    Args:
        factor: dotted name.
        block: name, without its factors, of an arm at the lowest level.
        levels: its values: numbers ascending, then words in the order of the arms.
        arms: of each level its arms; several where other factors of a grid are averaged over.
        means: of each level the mean score in [0, 1], over its arms within a trial seed, then over trial seeds.
        n: trial seeds with a score at every level.
        expected: trial seeds planned.
        spread: standard deviation between the true level means, in [0, 1]: the variance of the means less that which
            the trial seeds explain; 0 where these explain more.
        low, high: its 95 % interval (noncentral F), for normal residuals.
        p: of equal level means, by permutation of the levels within trial seeds.
        holm_p: adjusted over the factors of the sweep.
    """

    factor: str
    block: str
    levels: tuple[Scalar, ...]
    arms: tuple[tuple[str, ...], ...]
    means: tuple[float, ...]
    n: int
    expected: int
    spread: float
    low: float
    high: float
    p: float
    holm_p: float


def factor_effects(view: SweepView, table: Table) -> tuple[FactorEffect, ...]:
    """Every factor of the sweep, the largest spread first.

    Factors with equal levels are one line if they belong to the same grid: their arms differ in other factors alone.

    Args:
        view: its `settings` say what each arm is.
        table: holds the scores of the selected runs.
    """
    values = {row.arm: np.array(row.average.values) for row in table.rows}
    found = [_effect(factor, block, levels, values) for factor, block, levels in _factors(view)]
    adjusted = holm([one.p for one in found])
    found = [replace(one, holm_p=p) for one, p in zip(found, adjusted, strict=True)]
    return tuple(sorted(found, key=lambda one: -one.spread if math.isfinite(one.spread) else math.inf))


def alignment_over_arms(gains: Sequence[AlignmentAndScore]) -> SeedEstimate | None:
    """Whether the arms that gained more alignment gained a higher score.

    Per trial seed, the rank correlation (Spearman) over arms of alignment gained and score gained; then the mean
    over trial seeds.

    Returns:
        None below `FEWEST_ARMS` arms with both in every trial seed.
    """
    if not gains:
        return None
    values = []
    for of_seed in range(len(gains[0].trial_seeds)):
        points = [(one.alignment_gained[of_seed], one.score_gained[of_seed]) for one in gains]
        points = [point for point in points if all(map(math.isfinite, point))]
        ranked = [_ranks(side) for side in zip(*points, strict=True)]
        values.append(correlation(*ranked) if len(points) >= FEWEST_ARMS and all(map(vary, ranked)) else math.nan)
    return estimate(values) if any(map(math.isfinite, values)) else None


def _factors(view: SweepView) -> Iterator[tuple[str, str, dict[Scalar, tuple[str, ...]]]]:
    """Each factor with its block and the arms of its levels; grids whose levels are equal put together."""
    for name in dict.fromkeys(name for arm in view.arms for name in view.settings.get(arm, ())):
        if name in WHAT_AN_ARM_IS:
            continue
        groups: dict[tuple[tuple[str, Scalar], ...], dict[Scalar, list[str]]] = {}
        for arm in view.arms:
            settings = view.settings.get(arm, {})
            if name in settings:
                rest = tuple(sorted((other, value) for other, value in settings.items() if other != name))
                groups.setdefault(rest, {}).setdefault(settings[name], []).append(arm)
        by_levels: dict[tuple[str, tuple[Scalar, ...]], dict[Scalar, list[str]]] = {}
        for group in groups.values():
            if len(group) < 2:
                continue
            levels = tuple(sorted(group, key=_level_order))
            block = view.blocks.get(group[levels[0]][0], "")
            merged = by_levels.setdefault((block, levels), {level: [] for level in levels})
            for level, arms in group.items():
                merged[level].append(arms[0])
        for (block, _), found in by_levels.items():
            yield name, block, {level: tuple(arms) for level, arms in found.items()}


def _level_order(level: Scalar) -> tuple[bool, float]:
    is_number = isinstance(level, int | float) and not isinstance(level, bool)
    return not is_number, float(level) if is_number else 0.0


def _effect(
    factor: str, block: str, levels: Mapping[Scalar, tuple[str, ...]], values: Mapping[str, NDArray[np.float64]]
) -> FactorEffect:
    accuracy = np.array([np.mean([values[arm] for arm in arms], axis=0) for arms in levels.values()])
    complete = accuracy[:, np.isfinite(accuracy).all(axis=0)]
    k, n = complete.shape
    spread = low = high = p = math.nan
    if n >= ENOUGH_SEEDS:
        residuals = complete - complete.mean(axis=0) - complete.mean(axis=1, keepdims=True) + complete.mean()
        noise = float((residuals**2).sum()) / ((k - 1) * (n - 1))
        between = n * float(complete.mean(axis=1).var(ddof=1))
        spread = math.sqrt(max(0.0, (between - noise) / n))
        if noise > 0:
            low, high = (math.sqrt(noise / n / (k - 1) * end) for end in _noncentrality(between / noise, k, n))
        p = _permutation_p(complete)
    return FactorEffect(
        factor=factor,
        block=block,
        levels=tuple(levels),
        arms=tuple(levels.values()),
        means=tuple(complete.mean(axis=1).tolist()) if n else (math.nan,) * k,
        n=n,
        expected=accuracy.shape[1],
        spread=spread,
        low=low,
        high=high,
        p=p,
        holm_p=math.nan,
    )


def _noncentrality(f: float, k: int, n: int) -> tuple[float, float]:
    """The 95 % interval of the noncentrality of F with k - 1 and (k - 1)(n - 1) degrees of freedom."""
    from scipy.special import fdtr, ncfdtrinc

    freedom = k - 1, (k - 1) * (n - 1)
    central = float(fdtr(*freedom, f))
    shares = 1 - LEVEL / 2, LEVEL / 2
    low, high = (float(ncfdtrinc(*freedom, share, f)) if central > share else 0.0 for share in shares)
    return low, high


def _permutation_p(accuracy: NDArray[np.float64]) -> float:
    """Of equal level means: the share of permutations, the identity among them, whose means lie as far apart."""
    generator = np.random.default_rng(0)  # its own: the same p for the same numbers
    observed = accuracy.mean(axis=1).var()
    shuffled = generator.permuted(np.broadcast_to(accuracy, (PERMUTATIONS, *accuracy.shape)), axis=1)
    variances = shuffled.mean(axis=2).var(axis=1)
    return float((1 + (variances >= observed * (1 - 1e-9)).sum()) / (1 + PERMUTATIONS))


def _ranks(values: Sequence[float]) -> list[float]:
    """Average ranks from 1."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return [float(rank) for rank in ((2 * ends - counts + 1) / 2)[inverse]]
