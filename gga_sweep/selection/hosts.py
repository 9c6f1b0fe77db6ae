"""What annealing adds to each algorithm: a line a host, as in the paper's table, and the mean over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from gga_sweep.selection.contrasts import Contrast
from gga_sweep.selection.seed_statistics import SeedEstimate, estimate, holm
from gga_sweep.selection.table import Entry, Table
from gga_sweep.selection.view import SweepView


@dataclass(frozen=True, slots=True)
class HostGain:
    """An annealed arm beside its own algorithm without annealing.

    Args:
        host: the algorithm.
        alone, annealed: their accuracies, averaged over the test domains.
        contrast: of the selected runs; `holm_p` is adjusted over the hosts alone.
    """

    host: str
    alone: Entry
    annealed: Entry
    contrast: Contrast


def host_gains(view: SweepView, table: Table, selected: Sequence[Contrast]) -> tuple[HostGain, ...]:
    """In the order of the arms; none where fewer than two algorithms are annealed beside themselves.

    Args:
        view: the sweep.
        table: its table, built from `view`.
        selected: the table's contrasts.
    """
    accuracy = {row.arm: row.average for row in table.rows}
    contrasts = [contrast for contrast in selected if contrast.arm in view.hosts]
    if len({view.hosts[contrast.arm] for contrast in contrasts}) < 2:
        return ()
    adjusted = holm([contrast.difference.p for contrast in contrasts])
    return tuple(
        HostGain(view.hosts[one.arm], accuracy[one.baseline], accuracy[one.arm], replace(one, holm_p=p))
        for one, p in zip(contrasts, adjusted, strict=True)
    )


def mean_gain(gains: Sequence[HostGain]) -> SeedEstimate | None:
    """The mean over hosts within a trial seed, then over trial seeds; a seed that lacks a host has none.

    None where an algorithm is annealed in several ways, of which a mean would say nothing, and without a host.
    """
    if not gains or len({gain.host for gain in gains}) < len(gains):
        return None
    by_host = [gain.contrast.difference.values for gain in gains]
    return estimate([fmean(of_seed) for of_seed in zip(*by_host, strict=True)])
