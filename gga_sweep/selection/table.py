"""The table of a sweep: the selected runs' score on each test domain, over trial seeds.

Aggregation as in DomainBed (domainbed/scripts/collect_results.py): mean and standard error over trial seeds, the latter
with the population standard deviation (ddof 0). Unlike there, an average over test domains counts only the trial seeds
in which every test domain has a selected run, and says how many those are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gga_sweep.metrics import METRICS
from gga_sweep.records import FINAL, Cell, Record, RunRecords, RunStatus
from gga_sweep.selection.declaration import Method, Reasons
from gga_sweep.selection.methods import DEFAULT_METHOD, METHODS
from gga_sweep.selection.seed_statistics import SeedValues
from gga_sweep.selection.select import Selected, select
from gga_sweep.selection.tested import score_on_test_domains
from gga_sweep.selection.view import SelectFrom, SweepView, status_in_words


@dataclass(frozen=True, slots=True)
class Entry(SeedValues):
    """One number of the table; its values are scores in [0, 1].

    Args:
        mean: over the trial seeds that have one; NaN if none has.
        standard_error: population standard deviation over sqrt(n); NaN below two values.
        incomplete: a trial seed has no value, or was selected from fewer runs than planned.
    """

    mean: float
    standard_error: float
    incomplete: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One arm.

    Args:
        arm: its name.
        searched: whether its draws came from a user's own searcher.
        draws: draw numbers planned for each of its cells; 0 for an arm that was only searched.
        entries: one a column.
        average: over the columns, trial seed by trial seed.
        worst: of each trial seed the lowest of the columns, if it has them all.
        tied_steps: selected runs whose best step was one of several.
        tied_draws: cells whose best run was one of several.
        runs: its runs by status; none of an arm of averaged weights, whose runs are another's. A diverged run is final:
            it takes part up to where it diverged.
    """

    arm: str
    searched: bool
    draws: int
    entries: tuple[Entry, ...]
    average: Entry
    worst: Entry
    tied_steps: int
    tied_draws: int
    runs: Mapping[RunStatus, int]


@dataclass(frozen=True, slots=True)
class IncompleteCell:
    """A cell that lacks something planned.

    Args:
        cell: which one.
        reasons: reason -> the draws concerned, ascending. A reason is "missing" (no run), a status in words ("failed",
            "out of memory"), or, if nothing could be selected, why the final runs could not. No draws if none was
            planned.
        selected: whether a run could still be selected from the others.
    """

    cell: Cell
    reasons: Mapping[str, tuple[int, ...]]
    selected: bool


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """Arms by test domains, with everything that must be printed beside the numbers.

    Args:
        name: of the sweep.
        dataset, protocol, deviations, notes: as in `SweepView`.
        method: name of the selection method.
        metric: by which it selects, and which the table shows.
        exclude_diverged: whether diverged runs were kept out of selection.
        select_from: `any` step, or those `after-window`: after every annealing window of the plan, in every arm.
        first_step: evaluations before it did not take part.
        seed_use: as in `SweepView`.
        columns: the test domains, in order.
        trial_seeds: in the order of `Entry.values`.
        rows: one an arm, in order.
        incomplete: cells that lack something, in the order of the plan.
        selected: the runs and steps that the numbers are from, in the order of the plan.
    """

    name: str
    dataset: str
    protocol: str
    deviations: tuple[str, ...]
    method: str
    metric: str
    exclude_diverged: bool
    select_from: SelectFrom
    first_step: int
    columns: tuple[tuple[str, ...], ...]
    trial_seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    incomplete: tuple[IncompleteCell, ...]
    selected: tuple[Selected, ...]
    seed_use: str = ""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        size = f"arms: {len(self.rows)}, test domains: {len(self.columns)}, trial seeds: {len(self.trial_seeds)}"
        return f"<Table of {self.title}; {size}>"

    @property
    def title(self) -> str:
        title = f"{self.name}: {self.metric_label} (%) by test domain of {self.dataset}"
        return title if self.method == DEFAULT_METHOD else f"{title}, selected by {self.method_label}"

    @property
    def method_label(self) -> str:
        return METHODS[self.method].label

    @property
    def method_rule(self) -> str:
        """What the method does, in one sentence."""
        return METHODS[self.method].rule.format(metric=self.metric_label)

    @property
    def metric_label(self) -> str:
        """The metric's name within a sentence."""
        return METRICS[self.metric].label


def build_table(
    view: SweepView,
    method: str = DEFAULT_METHOD,
    *,
    exclude_diverged: bool = False,
    select_from: SelectFrom = "any",
) -> Table:
    """Select in every cell of `view`, and aggregate the score of the selected runs on their test domains.

    Raises:
        InputError: as `select`.
    """
    first_step = view.after_windows if select_from == "after-window" else 0
    chosen = select(
        view.records,
        method,
        metric=view.metric,
        exclude_diverged=exclude_diverged,
        first_step=first_step,
        pair_records=view.pair_records,
        cells=view.cells(),
    )
    selected = {one.cell: one for one in chosen}
    runs = view.by_cell()
    scores = {
        cell: score_on_test_domains(selected_record(one, runs[cell]), cell, view.metric)
        for cell, one in selected.items()
    }
    incomplete = _incomplete_cells(view, runs, scores, METHODS[method])
    return Table(
        name=view.name,
        dataset=view.dataset,
        protocol=view.protocol,
        deviations=view.deviations,
        method=method,
        metric=view.metric,
        exclude_diverged=exclude_diverged,
        select_from=select_from,
        first_step=first_step,
        columns=view.test_domains,
        trial_seeds=view.trial_seeds,
        rows=tuple(_row(view, arm, scores, selected, incomplete) for arm in view.arms),
        incomplete=tuple(incomplete.values()),
        selected=tuple(selected[cell] for cell in view.cells() if cell in selected),
        seed_use=view.seed_use,
        notes=view.notes,
    )


def selected_record(selected: Selected, runs: Sequence[RunRecords]) -> Record:
    """The record at the selected step of the selected run, which must be among `runs`."""
    run = next(run for run in runs if run.key == selected.key)
    return run.record_at(selected.step)


def summarize(values: Sequence[float], *, incomplete: bool = False) -> Entry:
    """Mean and standard error (population, ddof 0) over the finite values; an absent value makes it incomplete."""
    finite = [value for value in values if math.isfinite(value)]
    return Entry(
        values=tuple(values),
        mean=float(np.mean(finite)) if finite else math.nan,
        standard_error=float(np.std(finite) / np.sqrt(len(finite))) if len(finite) > 1 else math.nan,
        incomplete=incomplete or len(finite) < len(values),
    )


def _row(
    view: SweepView,
    arm: str,
    scores: Mapping[Cell, float],
    selected: Mapping[Cell, Selected],
    incomplete: Mapping[Cell, IncompleteCell],
) -> Row:
    cells = [[Cell(view.dataset, arm, column, seed) for seed in view.trial_seeds] for column in view.test_domains]
    values = np.array([[scores.get(cell, math.nan) for cell in column] for column in cells])
    values[~np.isfinite(values)] = math.nan
    lacking = [any(cell in incomplete for cell in column) for column in cells]
    chosen = [selected[cell] for column in cells for cell in column if cell in selected]
    return Row(
        arm=arm,
        searched=arm in view.searched,
        draws=len(view.draws.get(arm, ())),
        entries=tuple(
            summarize(column.tolist(), incomplete=lacks) for column, lacks in zip(values, lacking, strict=True)
        ),
        # A trial seed without one of its test domains is NaN in both, and so left out.
        average=summarize(values.mean(axis=0).tolist(), incomplete=any(lacking)),
        worst=summarize(values.min(axis=0).tolist(), incomplete=any(lacking)),
        tied_steps=sum(one.tied_steps > 0 for one in chosen),
        tied_draws=sum(one.tied_draws > 0 for one in chosen),
        runs=Counter(run.status for run in view.records if run.cell.arm == arm and arm not in view.averaged),
    )


def _incomplete_cells(
    view: SweepView, runs: Mapping[Cell, Sequence[RunRecords]], scores: Mapping[Cell, float], method: Method
) -> dict[Cell, IncompleteCell]:
    """The cells that lack something; `scores` are those of the selected runs."""
    reasons_of_method = method.reasons(view)
    incomplete = {}
    for cell in view.cells():
        reasons = _reasons(view, cell, runs.get(cell, []), scores.get(cell), method, reasons_of_method(cell))
        if reasons:
            incomplete[cell] = IncompleteCell(cell, reasons, cell in scores)
    return incomplete


def _reasons(
    view: SweepView,
    cell: Cell,
    runs: Sequence[RunRecords],
    score: float | None,
    method: Method,
    of_method: Reasons,
) -> dict[str, tuple[int, ...]]:
    """Why the cell is incomplete, as in `IncompleteCell`; empty if it is complete.

    Args:
        runs: of the cell.
        score: of its selected run; None without one.
        of_method: the method's own reasons.
    """
    reasons = view.not_final(cell, runs)
    if score is None:
        for run in runs:
            if run.status in FINAL:
                reasons.setdefault(_why_not_selectable(run, method, view.metric), set()).update(run.draws)
    for why, draws in of_method:
        reasons.setdefault(why, set()).update(draws)
    if score is not None and math.isnan(score):
        reasons[f"selected, but without a test {METRICS[view.metric].label}"] = set()
    if not runs and not reasons:
        reasons["no run"] = set()
    return {reason: tuple(sorted(draws)) for reason, draws in reasons.items()}


def _why_not_selectable(run: RunRecords, method: Method, metric: str) -> str:
    if run.status is RunStatus.DIVERGED:
        return "diverged"
    return f"{status_in_words(run.status)} without {method.lacking.format(metric=METRICS[metric].label)}"
