"""Each arm against its baseline: differences on the test domains, in pairs, with the trial seed as unit.

Two estimands, never blended:

- `selected`, the headline: the selected run of the arm minus that of the baseline. The gain of a user of the arm,
  hyperparameter search included.
- `matched`: both at the same draw, each at its own best validation step. The gain without hyperparameter search.

Pairs share trial seed and test domains (and draw). They are averaged within a trial seed first, draws before test
domains. A pair that lacks a side is named, and its trial seed is left out of the mean and its interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from gga_sweep.errors import Fault, InputError
from gga_sweep.metrics import METRICS
from gga_sweep.records import FINAL, Cell, RunRecords, RunStatus
from gga_sweep.selection.methods.training_validation import by_validation
from gga_sweep.selection.seed_statistics import SeedEstimate, estimate, holm
from gga_sweep.selection.select import from_step
from gga_sweep.selection.table import Row, Table
from gga_sweep.selection.tested import score_on_test_domains
from gga_sweep.selection.view import SweepView, group_by_cell, status_in_words

Estimand = Literal["selected", "matched"]


@dataclass(frozen=True, slots=True)
class MissingPair:
    """A pair that gives no difference.

    Args:
        test_domains, trial_seed: those of its runs.
        draw: of a matched pair; None for a selected one.
        lacking: by arm (the arm itself, its baseline, or both) why it has no score here.
    """

    test_domains: tuple[str, ...]
    trial_seed: int
    draw: int | None
    lacking: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Contrast:
    """One arm minus its baseline.

    Args:
        arm, baseline: their names.
        estimand: `selected` or `matched`.
        difference: of scores in [0, 1], so in [-1, 1]; one value a trial seed, NaN where a pair is missing or
            the two arms have no draw in common.
        holm_p: `difference.p` adjusted over the arms with the same estimand (Holm); NaN where there is no p.
        pairs: how many the mean is over.
        missing: pairs that lack a side, by test domain, trial seed and draw.
        incomplete: a trial seed is left out, or a number was selected from fewer runs than planned.
    """

    arm: str
    baseline: str
    estimand: Estimand
    difference: SeedEstimate
    holm_p: float
    pairs: int
    missing: tuple[MissingPair, ...]
    incomplete: bool


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two sides of a difference: scores in [0, 1], or why there is none, in words."""

    test_domains: tuple[str, ...]
    trial_seed: int
    draw: int | None
    arm: float | str
    baseline: float | str

    @property
    def difference(self) -> float:
        if isinstance(self.arm, str) or isinstance(self.baseline, str):
            return math.nan
        return self.arm - self.baseline


def selected_contrasts(table: Table, baselines: Mapping[str, str]) -> tuple[Contrast, ...]:
    """The selected runs of every arm that has a baseline, minus its baseline's.

    Args:
        table: holds the score of every selected run.
        baselines: arm -> the arm it is compared with; an arm that is a baseline itself is absent.

    Returns:
        One an arm with a baseline, in the table's order.

    Raises:
        InputError: an arm or a baseline is not in the table, or an arm is its own baseline.
    """
    rows = {row.arm: row for row in table.rows}
    check_baselines(baselines, tuple(rows))
    compared = [(rows[arm], rows[baselines[arm]]) for arm in rows if arm in baselines]
    return _adjusted(
        _contrast(
            arm.arm,
            baseline.arm,
            "selected",
            list(_selected_pairs(table, arm, baseline)),
            table.trial_seeds,
            incomplete=arm.average.incomplete or baseline.average.incomplete,
        )
        for arm, baseline in compared
    )


def matched_contrasts(
    view: SweepView, baselines: Mapping[str, str], *, exclude_diverged: bool = False, first_step: int = 0
) -> tuple[Contrast, ...]:
    """Every draw of every arm that has a baseline, minus the same draw of its baseline.

    A run of several draws is in the pair of each. A draw that only one of the two cells has, planned or run, makes no
    pair.

    Args:
        view: the sweep.
        baselines: arm -> the arm it is compared with; an arm that is a baseline itself is absent.
        exclude_diverged: leave out every run that diverged, its finite records included.
        first_step: evaluations before it do not take part.

    Returns:
        One an arm with a baseline, in the order of the arms.

    Raises:
        InputError: an arm or a baseline is not in the view, or an arm is its own baseline.
    """
    check_baselines(baselines, view.arms)
    cells = group_by_cell(from_step(run, first_step) for run in view.records)
    sides: dict[Cell, dict[int, float | str]] = {cell: {} for cell in cells}
    for cell, runs in cells.items():
        for run in runs:  # once each: a baseline is in the pairs of many arms
            sides[cell].update(dict.fromkeys(run.draws, _score_without_search(run, view.metric, exclude_diverged)))
    return _adjusted(
        _contrast(
            arm,
            baselines[arm],
            "matched",
            list(_matched_pairs(view, sides, arm, baselines[arm])),
            view.trial_seeds,
        )
        for arm in view.arms
        if arm in baselines
    )


def check_baselines(baselines: Mapping[str, str], arms: Sequence[str]) -> None:
    """Check that baselines name arms.

    Raises:
        InputError: an arm or a baseline is not among `arms`, or an arm is its own baseline.
    """
    faults = [
        Fault("baselines", "must name arms of the sweep", name, tuple(arms))
        for name in dict.fromkeys((*baselines, *baselines.values()))
        if name not in arms
    ]
    faults += [
        Fault("baselines", "an arm cannot be its own baseline", arm)
        for arm, baseline in baselines.items()
        if arm == baseline
    ]
    if faults:
        raise InputError(faults, source="contrasts")


def _selected_pairs(table: Table, arm: Row, baseline: Row) -> Iterator[_Pair]:
    for test_domains, ours, theirs in zip(table.columns, arm.entries, baseline.entries, strict=True):
        for trial_seed, *values in zip(table.trial_seeds, ours.values, theirs.values, strict=True):
            sides = (value if math.isfinite(value) else f"no selected {table.metric_label}" for value in values)
            yield _Pair(test_domains, trial_seed, None, *sides)


def _matched_pairs(
    view: SweepView, sides: Mapping[Cell, Mapping[int, float | str]], arm: str, baseline: str
) -> Iterator[_Pair]:
    for test_domains in view.test_domains:
        for trial_seed in view.trial_seeds:
            cells = [Cell(view.dataset, name, test_domains, trial_seed) for name in (arm, baseline)]
            known = [{*view.draws.get(cell.arm, ()), *sides.get(cell, {})} for cell in cells]
            for draw in sorted(known[0] & known[1]):
                pair = (sides.get(cell, {}).get(draw, "missing") for cell in cells)
                yield _Pair(test_domains, trial_seed, draw, *pair)


def _score_without_search(run: RunRecords, metric: str, exclude_diverged: bool) -> float | str:
    """The score on the test domains at the run's own best validation step; or why there is none."""
    if run.status not in FINAL or (exclude_diverged and run.status is RunStatus.DIVERGED):
        return status_in_words(run.status)
    best, label = by_validation(run, metric), METRICS[metric].label
    if best is None:
        return f"{status_in_words(run.status)} without a finite validation {label}"
    score = score_on_test_domains(run.record_at(best.step), run.cell, metric)
    return score if math.isfinite(score) else f"without a test {label}"


def _contrast(
    arm: str,
    baseline: str,
    estimand: Estimand,
    pairs: Sequence[_Pair],
    trial_seeds: Sequence[int],
    *,
    incomplete: bool = False,
) -> Contrast:
    difference = estimate([_mean_of_seed([pair for pair in pairs if pair.trial_seed == seed]) for seed in trial_seeds])
    counted = {seed for seed, value in zip(trial_seeds, difference.values, strict=True) if math.isfinite(value)}
    return Contrast(
        arm=arm,
        baseline=baseline,
        estimand=estimand,
        difference=difference,
        holm_p=math.nan,
        pairs=sum(pair.trial_seed in counted for pair in pairs),
        missing=tuple(_missing(pair, arm, baseline) for pair in pairs if math.isnan(pair.difference)),
        incomplete=incomplete or difference.n < difference.expected,
    )


def _mean_of_seed(pairs: Sequence[_Pair]) -> float:
    """The mean over draws, then over test domains; NaN without a pair, or if one lacks a side."""
    by_domains: dict[tuple[str, ...], list[float]] = {}
    for pair in pairs:
        by_domains.setdefault(pair.test_domains, []).append(pair.difference)
    return fmean(map(fmean, by_domains.values())) if by_domains else math.nan


def _missing(pair: _Pair, arm: str, baseline: str) -> MissingPair:
    sides = {arm: pair.arm, baseline: pair.baseline}
    lacking = {name: why for name, why in sides.items() if isinstance(why, str)}
    return MissingPair(pair.test_domains, pair.trial_seed, pair.draw, lacking)


def _adjusted(contrasts: Iterable[Contrast]) -> tuple[Contrast, ...]:
    found = tuple(contrasts)
    adjusted = holm([contrast.difference.p for contrast in found])
    return tuple(replace(contrast, holm_p=p) for contrast, p in zip(found, adjusted, strict=True))
