"""What annealing did to the gradients of every annealed arm, in trial seeds, and whether accuracy followed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
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


def gain_under_search(step: AnnealedStep) -> float:
    return step.alignment_after - step.alignment_before


def gain_under_fresh_masks(step: AnnealedStep) -> float:
    return step.fresh_alignment_after - step.fresh_alignment_before


def gain_on_next_minibatches(step: AnnealedStep) -> float:
    return step.next_alignment_after - step.next_alignment_before


Column = NDArray[np.float64]
Columns = Mapping[str, Column]
"""Many steps, field by field: (n,), an absent value as NaN."""

SEARCH_QUANTITIES: Mapping[str, Callable[[Columns], Column]] = MappingProxyType(
    {
        "gain_under_search": lambda steps: steps["alignment_after"] - steps["alignment_before"],
        "gain_under_fresh_masks": lambda steps: steps["fresh_alignment_after"] - steps["fresh_alignment_before"],
        "gain_on_next_minibatches": lambda steps: steps["next_alignment_after"] - steps["next_alignment_before"],
        "acceptance_rate": lambda steps: _ratio(steps["accepted"], steps["tried"]),
        "share_moved": lambda steps: np.isfinite(steps["chosen"]).astype(np.float64),
        "distance_in_radii": itemgetter("moved_radii"),
        "distance_in_updates": itemgetter("moved_updates"),
    }
)
"""Of steps that searched: alignment gained (cosine) as the search saw it, under fresh dropout masks and on the next
minibatches; accepted / tried; whether the weights moved; how far, in radii and in optimiser updates."""

NOISE_QUANTITIES: Mapping[str, Callable[[Columns], Column]] = MappingProxyType(
    {
        "mean_cosine": itemgetter("mean_cosine"),
        "alpha": itemgetter("alpha"),
        "noise_over_gradient": lambda steps: _ratio(steps["noise_norm"], steps["gradient_norm"]),
    }
)
"""Of steps of GGA-L: mean cosine of the domain gradients, scale of the noise, its norm over the joint gradient's."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One quantity of an annealed arm.

    Args:
        mean: over the steps of a run, then over the runs of a trial seed, then over trial seeds.
        left_out: steps where it is undefined, as a cosine with a zero gradient is.
    """

    mean: SeedEstimate
    left_out: int


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
    """Where the selected steps of an arm that searches lie; before the window all arms are the same by construction.

    Args:
        arm: its name.
        before: selected steps before the first annealed step of their run, or of a run that ended before it.
        inside: from the first annealed step of their run to the last.
        after: behind the last.
    """

    arm: str
    before: int
    inside: int
    after: int

    @property
    def total(self) -> int:
        return self.before + self.inside + self.after


@dataclass(frozen=True, slots=True)
class AlignmentAndAccuracy:
    """What an arm's selected runs gained in alignment, beside what they gained in accuracy.

    Args:
        arm, baseline: their names.
        trial_seeds: in the table's order.
        alignment_gained: of each trial seed, mean gain under fresh masks over the annealed steps of a run, then over
            the selected runs; a cosine; NaN where none annealed.
        accuracy_gained: of each trial seed, the difference of the selected runs, in [-1, 1]; NaN where a pair is
            missing.
    """

    arm: str
    baseline: str
    trial_seeds: tuple[int, ...]
    alignment_gained: tuple[float, ...]
    accuracy_gained: tuple[float, ...]

    @property
    def points(self) -> tuple[tuple[int, float, float], ...]:
        """(trial seed, alignment gained, accuracy gained), where both are known."""
        every = zip(self.trial_seeds, self.alignment_gained, self.accuracy_gained, strict=True)
        return tuple(point for point in every if all(map(math.isfinite, point)))

    @property
    def correlation(self) -> float:
        """Pearson's, over trial seeds; NaN below three of them, or where one side does not vary."""
        if len(self.points) < 3:
            return math.nan
        _, alignment, accuracy = zip(*self.points, strict=True)
        return correlation(alignment, accuracy) if vary(alignment) and vary(accuracy) else math.nan


def annealing_diagnostics(view: SweepView) -> tuple[AnnealingDiagnostics, ...]:
    """Every arm of which a final run annealed a step, in the order of the arms."""
    found = []
    for arm in view.arms:
        runs = [run for run in view.records if run.cell.arm == arm and run.status in FINAL and run.annealed]
        if runs:
            found.append(_diagnostics(arm, runs, view.trial_seeds))
    return tuple(found)


def selected_steps(view: SweepView, table: Table) -> tuple[SelectedSteps, ...]:
    """Every arm of which a run searched, in the order of the arms."""
    searching = {run.cell.arm for run in view.records if run.searches}
    runs = _by_place(view)
    places = {arm: [_place(one, runs) for one in table.selected if one.cell.arm == arm] for arm in view.arms}
    return tuple(
        SelectedSteps(arm, *(places[arm].count(place) for place in ("before", "inside", "after")))
        for arm in view.arms
        if arm in searching
    )


def alignment_and_accuracy(
    view: SweepView, table: Table, contrasts: Iterable[Contrast]
) -> tuple[AlignmentAndAccuracy, ...]:
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
        gained = [(run.cell.trial_seed, _mean(map(gain_under_fresh_masks, run.searches))) for run in selected]
        gains = _seed_means(gained, table.trial_seeds)
        found.append(
            AlignmentAndAccuracy(
                arm=contrast.arm,
                baseline=contrast.baseline,
                trial_seeds=table.trial_seeds,
                alignment_gained=gains,
                accuracy_gained=contrast.difference.values,
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
    quantities: Mapping[str, Callable[[Columns], Column]],
    runs: Sequence[tuple[int, Sequence[AnnealedStep] | Sequence[NoisyStep]]],
    trial_seeds: Sequence[int],
) -> dict[str, Diagnostic]:
    """Each quantity over the runs, given as trial seed and steps; nothing where there is no step."""
    steps: list[AnnealedStep | NoisyStep] = [step for _, of_run in runs for step in of_run]
    if not steps:
        return {}
    columns = _Columns(steps)
    run_of_step = np.repeat(np.arange(len(runs)), [len(of_run) for _, of_run in runs])
    seeds = [trial_seed for trial_seed, _ in runs]
    return {
        name: _diagnostic(quantity(columns), run_of_step, seeds, trial_seeds) for name, quantity in quantities.items()
    }


class _Columns(dict[str, Column]):
    """`Columns` of some steps, each made at its first use."""

    def __init__(self, steps: Sequence[AnnealedStep | NoisyStep]) -> None:
        super().__init__()
        self._steps = steps

    def __missing__(self, name: str) -> Column:
        self[name] = column = np.array([*map(attrgetter(name), self._steps)], np.float64)
        return column


def _diagnostic(
    values: Column, run_of_step: NDArray[np.int64], seeds: Sequence[int], trial_seeds: Sequence[int]
) -> Diagnostic:
    finite = np.isfinite(values)
    runs = run_of_step[finite]
    sums = np.bincount(runs, values[finite], minlength=len(seeds)).astype(np.float64)
    counts = np.bincount(runs, minlength=len(seeds)).astype(np.float64)
    means = _ratio(sums, counts).tolist()
    return Diagnostic(
        mean=estimate(_seed_means(zip(seeds, means, strict=True), trial_seeds)), left_out=int((~finite).sum())
    )


def _seed_means(values: Iterable[tuple[int, float]], trial_seeds: Sequence[int]) -> tuple[float, ...]:
    """A value a trial seed: the mean over its runs, given as trial seed and value; NaN where there is none."""
    of_seed: dict[int, list[float]] = {seed: [] for seed in trial_seeds}
    for trial_seed, value in values:
        of_seed[trial_seed].append(value)
    return tuple(_mean(of_seed[seed]) for seed in trial_seeds)


def _mean(values: Iterable[float]) -> float:
    """Of the finite ones; NaN where there is none."""
    finite = list(filter(math.isfinite, values))
    return fmean(finite) if finite else math.nan


def _ratio(part: Column, whole: Column) -> Column:
    """NaN where the whole is zero."""
    return np.divide(part, whole, out=np.full_like(part, math.nan), where=whole != 0)


def _by_place(view: SweepView) -> dict[tuple[Cell, str], RunRecords]:
    """A run shared by two arms stands in both, so its key alone does not name it."""
    return {(run.cell, run.key): run for run in view.records}


def _place(one: Selected, runs: Mapping[tuple[Cell, str], RunRecords]) -> str:
    """Where the selected step lies: before, inside or after the window of its run."""
    annealed = [step.step for step in runs[one.cell, one.key].searches]
    if not annealed or one.step < annealed[0]:
        return "before"
    return "inside" if one.step <= annealed[-1] else "after"
