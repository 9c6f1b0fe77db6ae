"""What annealing adds to each algorithm: a line an algorithm, as in the paper's table, and the mean over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from gga_sweep.selection.contrasts import Contrast
from gga_sweep.selection.seed_statistics import SeedEstimate, estimate, holm
from gga_sweep.selection.table import Entry, Table
from gga_sweep.selection.view import SweepView


@dataclass(frozen=True, slots=True)
class AlgorithmGain:
    """An annealed arm beside its own algorithm without annealing.

    Args:
        algorithm: its name.
        alone, annealed: their scores, averaged over the test domains.
        contrast: of the selected runs; `holm_p` is adjusted over these algorithms alone.
    """

    algorithm: str
    alone: Entry
    annealed: Entry
    contrast: Contrast


def algorithm_gains(view: SweepView, table: Table, selected: Sequence[Contrast]) -> tuple[AlgorithmGain, ...]:
    """In the order of the arms; none if fewer than two algorithms are annealed beside themselves.

    Args:
        view: the sweep.
        table: its table, built from `view`.
        selected: the table's contrasts.
    """
    scores = {row.arm: row.average for row in table.rows}
    contrasts = [contrast for contrast in selected if contrast.arm in view.algorithms]
    if len({view.algorithms[contrast.arm] for contrast in contrasts}) < 2:
        return ()
    adjusted = holm([contrast.difference.p for contrast in contrasts])
    return tuple(
        AlgorithmGain(view.algorithms[one.arm], scores[one.baseline], scores[one.arm], replace(one, holm_p=p))
        for one, p in zip(contrasts, adjusted, strict=True)
    )


def mean_gain(gains: Sequence[AlgorithmGain]) -> SeedEstimate | None:
    """The mean over algorithms within a trial seed, then over trial seeds; a seed that lacks an algorithm has none.

    None without an algorithm, and where one is annealed in several ways, which a mean would mix.
    """
    if not gains or len({gain.algorithm for gain in gains}) < len(gains):
        return None
    by_algorithm = [gain.contrast.difference.values for gain in gains]
    return estimate([fmean(of_seed) for of_seed in zip(*by_algorithm, strict=True)])
