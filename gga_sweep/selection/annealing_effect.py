"""What annealing did to the gradients of every annealed arm, by trial seed, and whether the score followed."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import correlation, fmean
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gga_sweep.records import FINAL, AnnealedStep, Cell, NoisyStep, RunRecords
from gga_sweep.selection.contrasts import Contrast
from gga_sweep.selection.seed_statistics import SeedEstimate, estimate, vary
from gga_sweep.selection.select import Selected
from gga_sweep.selection.table import Table
from gga_sweep.selection.view import SweepView

SEARCH_QUANTITIES: Mapping[str, str] = MappingProxyType(
    {
        "gain_under_search": "gain",
        "gain_under_fresh_masks": "fresh_gain",
        "gain_on_next_minibatches": "next_gain",
        "acceptance_rate": "acceptance_rate",
        "share_moved": "has_moved",
        "distance_in_radii": "moved_radii",
        "distance_in_updates": "moved_updates",
    }
)
"""What is reported of steps that searched: the attribute of `AnnealedStep` that holds it."""

NOISE_QUANTITIES: Mapping[str, str] = MappingProxyType(
    {"mean_cosine": "mean_cosine", "alpha": "alpha", "noise_over_gradient": "noise_over_gradient"}
)
"""What is reported of steps of GGA-L: the attribute of `NoisyStep` that holds it."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One quantity of an annealed arm.

    Args:
        mean: over the steps of a run, then over the runs of a trial seed, then over trial seeds.
        left_out: steps where it was measured and is undefined, e.g. a cosine with a zero gradient.
        measured: steps where it was measured; gains under fresh masks and on the next minibatches only at those that
            are diagnosed.
    """

    mean: SeedEstimate
    left_out: int
    measured: int


@dataclass(frozen=True, slots=True)
class AnnealingDiagnostics:
    """What annealing did in the final runs of an arm, selected or not.

    Args:
        arm: its name.
        runs: its final runs that annealed a step.
        steps: steps annealed, over these runs.
        searches: by the names of `SEARCH_QUANTITIES`; empty for a GGA-L arm.
        noise: by the names of `NOISE_QUANTITIES`; empty for an arm that searches.
    """

    arm: str
    runs: int
    steps: int
    searches: Mapping[str, Diagnostic]
    noise: Mapping[str, Diagnostic]


@dataclass(frozen=True, slots=True)
class SelectedSteps:
    """Where the selected steps of an arm that searches lie. Before the window all arms are equal by construction.

    Args:
        arm: its name.
        before: selected steps before the first annealed step of their run, or of a run that ended before it.
        inside: from the first annealed step of their run to the last.
        after: after the last.
    """

    arm: str
    before: int
    inside: int
    after: int

    @property
    def total(self) -> int:
        return self.before + self.inside + self.after


@dataclass(frozen=True, slots=True)
class AlignmentAndScore:
    """The alignment that an arm's selected runs gained, beside the score they gained.

    Args:
        arm, baseline: their names.
        trial_seeds: in the table's order.
        alignment_gained: of each trial seed, mean gain under fresh masks over the diagnosed steps of a run, then over
            the selected runs; a cosine; NaN where none was diagnosed.
        score_gained: of each trial seed, the difference of the selected runs, in [-1, 1]; NaN where a pair is
            missing.
    """

    arm: str
    baseline: str
    trial_seeds: tuple[int, ...]
    alignment_gained: tuple[float, ...]
    score_gained: tuple[float, ...]

    @property
    def points(self) -> tuple[tuple[int, float, float], ...]:
        """(trial seed, alignment gained, score gained), where both are known."""
        every = zip(self.trial_seeds, self.alignment_gained, self.score_gained, strict=True)
        return tuple(point for point in every if all(map(math.isfinite, point)))

    @property
    def correlation(self) -> float:
        """Pearson's, over trial seeds; NaN below three of them, or if one side does not vary."""
        if len(self.points) < 3:
            return math.nan
        _, alignment, score = zip(*self.points, strict=True)
        return correlation(alignment, score) if vary(alignment) and vary(score) else math.nan


def annealing_diagnostics(view: SweepView) -> tuple[AnnealingDiagnostics, ...]:
    """Every arm with a final run that annealed a step, in the order of the arms."""
    found = []
    for arm in view.arms:
        runs = [run for run in view.records if run.cell.arm == arm and run.status in FINAL and run.annealed]
        if runs:
            found.append(_diagnostics(arm, runs, view.trial_seeds))
    return tuple(found)


def selected_steps(view: SweepView, table: Table) -> tuple[SelectedSteps, ...]:
    """Every arm with a run that searched, in the order of the arms."""
    searching = {run.cell.arm for run in view.records if run.searches}
    runs = _by_place(view)
    places = {arm: [_place(one, runs) for one in table.selected if one.cell.arm == arm] for arm in view.arms}
    return tuple(
        SelectedSteps(arm, *(places[arm].count(place) for place in ("before", "inside", "after")))
        for arm in view.arms
        if arm in searching
    )


def alignment_and_score(view: SweepView, table: Table, contrasts: Iterable[Contrast]) -> tuple[AlignmentAndScore, ...]:
    """Every arm that searches and has a baseline.

    Args:
        contrasts: of the selected runs of `table`.
    """
    runs = _by_place(view)
    searching = {run.cell.arm for run in view.records if run.searches}
    found = []
    for contrast in contrasts:
        if contrast.arm not in searching:
            continue
        selected = [runs[one.cell, one.key] for one in table.selected if one.cell.arm == contrast.arm]
        gained = [(run.cell.trial_seed, _mean(_measured("fresh_gain", run.searches))) for run in selected]
        gains = _seed_means(gained, table.trial_seeds)
        found.append(
            AlignmentAndScore(
                arm=contrast.arm,
                baseline=contrast.baseline,
                trial_seeds=table.trial_seeds,
                alignment_gained=gains,
                score_gained=contrast.difference.values,
            )
        )
    return tuple(found)


def _diagnostics(arm: str, runs: Sequence[RunRecords], trial_seeds: Sequence[int]) -> AnnealingDiagnostics:
    searches = [(run.cell.trial_seed, run.searches) for run in runs]
    noisy = [(run.cell.trial_seed, run.noisy_steps) for run in runs]
    return AnnealingDiagnostics(
        arm=arm,
        runs=len(runs),
        steps=sum(len(run.annealed) for run in runs),
        searches=_each(SEARCH_QUANTITIES, searches, trial_seeds),
        noise=_each(NOISE_QUANTITIES, noisy, trial_seeds),
    )


def _each(
    quantities: Mapping[str, str],
    runs: Sequence[tuple[int, Sequence[AnnealedStep] | Sequence[NoisyStep]]],
    trial_seeds: Sequence[int],
) -> dict[str, Diagnostic]:
    """Each quantity over the runs, given as trial seed and steps; empty without a step."""
    if not any(of_run for _, of_run in runs):
        return {}
    columns = {name: array("d") for name in quantities}
    ends: dict[str, list[int]] = {name: [0] for name in quantities}
    for _, of_run in runs:
        steps = tuple(of_run)  # a run's at a time: those of a large sweep take a gigabyte
        for name, attribute in quantities.items():
            columns[name].extend(_measured(attribute, steps))
            ends[name].append(len(columns[name]))
    seeds = [trial_seed for trial_seed, _ in runs]
    return {
        name: _diagnostic(
            np.frombuffer(column), np.repeat(np.arange(len(runs)), np.diff(ends[name])), seeds, trial_seeds
        )
        for name, column in columns.items()
    }


def _measured(attribute: str, steps: Iterable[object]) -> Iterator[float]:
    return (value for value in map(attrgetter(attribute), steps) if value is not None)


def _diagnostic(
    values: NDArray[np.float64], run_of_step: NDArray[np.int64], seeds: Sequence[int], trial_seeds: Sequence[int]
) -> Diagnostic:
    finite = np.isfinite(values)
    runs = run_of_step[finite]
    sums = np.bincount(runs, values[finite], minlength=len(seeds))
    counts = np.bincount(runs, minlength=len(seeds))
    means = [total / count if count else math.nan for total, count in zip(sums.tolist(), counts.tolist(), strict=True)]
    return Diagnostic(
        mean=estimate(_seed_means(zip(seeds, means, strict=True), trial_seeds)),
        left_out=int((~finite).sum()),
        measured=len(values),
    )


def _seed_means(values: Iterable[tuple[int, float]], trial_seeds: Sequence[int]) -> tuple[float, ...]:
    """One value a trial seed: the mean over its runs, given as trial seed and value; NaN without one."""
    of_seed: dict[int, list[float]] = {seed: [] for seed in trial_seeds}
    for trial_seed, value in values:
        of_seed[trial_seed].append(value)
    return tuple(_mean(of_seed[seed]) for seed in trial_seeds)


def _mean(values: Iterable[float]) -> float:
    """The mean of the finite values; NaN without one."""
    finite = list(filter(math.isfinite, values))
    return fmean(finite) if finite else math.nan


def _by_place(view: SweepView) -> dict[tuple[Cell, str], RunRecords]:
    """Runs by cell and key: two arms may share a run, so its key alone is ambiguous."""
    return {(run.cell, run.key): run for run in view.records}


def _place(one: Selected, runs: Mapping[tuple[Cell, str], RunRecords]) -> str:
    """Where the selected step lies: before, inside or after the window of its run."""
    annealed = [step.step for step in runs[one.cell, one.key].searches]
    if not annealed or one.step < annealed[0]:
        return "before"
    return "inside" if one.step <= annealed[-1] else "after"
