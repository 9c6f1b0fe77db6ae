"""Many runs' values by step, brought to one curve with a band over trial seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from gga_sweep.records import RunRecords

Points = Callable[[RunRecords], Iterable[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class Curve:
    """One arm over steps; all of the same length.

    Args:
        steps: ascending.
        center: mean over trial seeds of the mean over a trial seed's runs.
        low, high: the lowest and the highest trial seed's mean.
    """

    steps: tuple[int, ...]
    center: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def curve_over_seeds(runs: Iterable[RunRecords], points: Points) -> Curve:
    """Average the (step, value) pairs of each run, first within a trial seed, then over trial seeds; NaN stays out."""
    gathered: dict[int, dict[int, list[float]]] = {}  # step -> trial seed -> values
    for run in runs:
        for step, value in points(run):
            if math.isfinite(value):
                gathered.setdefault(step, {}).setdefault(run.cell.trial_seed, []).append(value)
    steps = tuple(sorted(gathered))
    means = [[fmean(values) for values in gathered[step].values()] for step in steps]
    return Curve(
        steps=steps,
        center=tuple(fmean(seeds) for seeds in means),
        low=tuple(min(seeds) for seeds in means),
        high=tuple(max(seeds) for seeds in means),
    )
