"""A report's tables and the comparison of its arms as one tidy CSV: a row a number, in full.

What `kind` and `quantity` say of `value`:

| kind | quantity | value |
|---|---|---|
| accuracy | | on `test_domains`, in [0, 1]; `standard_error` with ddof 0, as the field prints it |
| average | | the same, over all test domains |
| difference-selected, difference-matched | | of accuracies, the arm's minus its baseline's, in [-1, 1]; ddof 1 |
| difference-hosts | an algorithm | as difference-selected, to itself without annealing; `holm_p` is over these alone |
| difference-hosts | mean | the same, over all algorithms |
| annealing | as in `selection.annealing_effect` | mean over annealed steps; ddof 1 |
| alignment-and-accuracy | alignment_gained, correlation | a cosine, by trial seed; Pearson's over trial seeds |
| selected | draw, step, validation_accuracy | of the run that stands for the cell |
| selected-steps | before, inside, after | how many selected steps lie there, seen from the annealing window |
| runs | a status | how many runs of the arm have it |
| search-budget | accuracy | expected of the run selected among `draws` draws of a cell, in [0, 1]; ddof 1 |
| search-budget | seconds_a_draw | device-seconds of a draw in one cell |
| cost | runs, done | how many runs |
| cost | total, a_run, each also by phase | device-seconds of all runs; mean of a done one |
| cost | inherited | device-seconds of the total that other runs spent, on steps they share |
| cost | ratio, ratio_without_diagnostics | a done run to one of the baseline |
| published | | on `test_domains`, or on average where these are absent, in [0, 1]; `standard_error` is the printed ± |

An empty `trial_seed` is the mean over trial seeds, of which `n` of `expected` have a value; a row with a trial seed is
the value of that seed. An absent number is empty. Rows hold dataset, protocol, selection and deviations with them, so
that tables of several sweeps can be put below each other.

Quoted as RFC 4180 wants it. Numbers have all their digits. Names are kept as they are, those that begin with =, +, -
or @ included: a program reads back what was written, but a spreadsheet may take such a name for a formula, so import
the file there as text. One call reads it, `pandas.read_csv(path, dtype={"test_domains": str}, keep_default_na=False,
na_values=[""])`; pandas 2 needs `float_precision="round_trip"` too for the last bit.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from gga_sweep.records import Cell
from gga_sweep.report.content import Report
from gga_sweep.report.published import PublishedNumber, PublishedRow, published, published_name
from gga_sweep.selection import (
    AlignmentAndAccuracy,
    AnnealingDiagnostics,
    Comparison,
    Contrast,
    Cost,
    Entry,
    SeedEstimate,
    Table,
    domain_label,
    mean_gain,
)
from gga_sweep.selection.expected_best import SearchBudget

Line = dict[str, str | float | bool]
"""A row by column; a column that is absent is empty."""

COLUMNS = (
    "sweep",
    "dataset",
    "protocol",
    "deviations",
    "selection",
    "select_from",
    "exclude_diverged",
    "seed_use",
    "kind",
    "quantity",
    "arm",
    "baseline",
    "test_domains",
    "trial_seed",
    "draws",
    "value",
    "n",
    "expected",
    "standard_error",
    "ddof",
    "low",
    "high",
    "p",
    "holm_p",
    "detectable",
    "pairs",
    "incomplete",
)


def render_csv(report: Report) -> str:
    """Every number below a line of `COLUMNS`; lines end in CRLF.

    First the headline table with the comparison, then the tables by other methods, then every published row on the
    dataset where the report shows some.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    table = report.table
    lines = [
        _under(table, chain(_of_table(table), _of_comparison(table, report.comparison))),
        *(_under(other, _of_table(other)) for other in report.others),
        *map(_published, published(table.dataset) if report.published else ()),
    ]
    for line in chain.from_iterable(lines):
        writer.writerow({column: _word(value) for column, value in line.items()})
    return file.getvalue()


def _under(table: Table, lines: Iterable[Line]) -> Iterator[Line]:
    """The lines with what holds for the whole table in front."""
    head: Line = {
        "sweep": table.name,
        "dataset": table.dataset,
        "protocol": table.protocol,
        "deviations": "; ".join(table.deviations),
        "selection": table.method,
        "select_from": table.select_from,
        "exclude_diverged": table.exclude_diverged,
        "seed_use": table.seed_use,
    }
    return ({**head, **line} for line in lines)


def _word(value: str | float | bool) -> str:
    """Floats in the fewest digits that give them back; what is not finite is absent."""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return str(value)


def _of_table(table: Table) -> Iterator[Line]:
    lacking = {one.cell for one in table.incomplete}
    for row in table.rows:
        for column, entry in zip(table.columns, row.entries, strict=True):
            at: Line = {"kind": "accuracy", "arm": row.arm, "test_domains": domain_label(column)}
            cells = [Cell(table.dataset, row.arm, column, seed) for seed in table.trial_seeds]
            yield from _of_entry(table, at, entry, [cell in lacking for cell in cells])
        seeds = _seeds_lacking(table, (row.arm,))
        yield from _of_entry(table, {"kind": "average", "arm": row.arm}, row.average, seeds)
        for status, n in sorted(row.runs.items()):
            yield {"kind": "runs", "quantity": status.value.lower(), "arm": row.arm, "value": n}
    for one in table.selected:
        for quantity in ("draw", "step", "validation_accuracy"):
            yield {
                "kind": "selected",
                "quantity": quantity,
                "arm": one.cell.arm,
                "test_domains": domain_label(one.cell.test_domains),
                "trial_seed": one.cell.trial_seed,
                "value": getattr(one, quantity),
            }


def _of_entry(table: Table, at: Line, entry: Entry, lacking: Sequence[bool]) -> Iterator[Line]:
    yield {
        **at,
        "value": entry.mean,
        "n": entry.n,
        "expected": entry.expected,
        "standard_error": entry.standard_error,
        "ddof": 0,
        "incomplete": entry.incomplete,
    }
    for line, incomplete in zip(_of_seeds(table, at, entry.values), lacking, strict=True):
        yield {**line, "incomplete": incomplete}


def _seeds_lacking(table: Table, arms: Sequence[str]) -> list[bool]:
    """Of each trial seed, whether a cell of one of the arms is incomplete."""
    seeds = {one.cell.trial_seed for one in table.incomplete if one.cell.arm in arms}
    return [seed in seeds for seed in table.trial_seeds]


def _of_seeds(table: Table, at: Line, values: Sequence[float]) -> Iterator[Line]:
    for seed, value in zip(table.trial_seeds, values, strict=True):
        yield {**at, "trial_seed": seed, "value": value}


def _of_comparison(table: Table, comparison: Comparison) -> Iterator[Line]:
    for contrast in (*comparison.selected, *comparison.matched):
        yield from _of_contrast(table, contrast)
    for gain in comparison.hosts:
        yield from _of_contrast(table, gain.contrast, {"kind": "difference-hosts", "quantity": gain.host})
    if mean := mean_gain(comparison.hosts):
        yield from _of_estimate(table, {"kind": "difference-hosts", "quantity": "mean"}, mean)
    for diagnostics in comparison.annealing:
        yield from _of_annealing(table, diagnostics)
    for gains in comparison.gains:
        yield from _of_gains(table, gains)
    for steps in comparison.steps:
        for place in ("before", "inside", "after"):
            yield {"kind": "selected-steps", "quantity": place, "arm": steps.arm, "value": getattr(steps, place)}
    for budget in comparison.budget:
        yield from _of_budget(table, budget)
    for cost in comparison.costs:
        yield from _of_cost(cost)


def _of_contrast(table: Table, contrast: Contrast, as_kind: Line | None = None) -> Iterator[Line]:
    kind = as_kind or {"kind": f"difference-{contrast.estimand}"}
    at: Line = {**kind, "arm": contrast.arm, "baseline": contrast.baseline}
    mean, *seeds = _of_estimate(table, at, contrast.difference)
    yield {**mean, "holm_p": contrast.holm_p, "pairs": contrast.pairs, "incomplete": contrast.incomplete}
    if contrast.estimand == "selected":
        lacking = _seeds_lacking(table, (contrast.arm, contrast.baseline))
    else:
        missing = {pair.trial_seed for pair in contrast.missing}
        lacking = [seed in missing for seed in table.trial_seeds]
    for line, incomplete in zip(seeds, lacking, strict=True):
        yield {**line, "incomplete": incomplete}


def _of_estimate(table: Table, at: Line, estimate: SeedEstimate) -> Iterator[Line]:
    yield {
        **at,
        "value": estimate.mean,
        "n": estimate.n,
        "expected": estimate.expected,
        "standard_error": estimate.standard_error,
        "ddof": 1,
        "low": estimate.low,
        "high": estimate.high,
        "p": estimate.p,
        "detectable": estimate.detectable,
    }
    yield from _of_seeds(table, at, estimate.values)


def _of_annealing(table: Table, diagnostics: AnnealingDiagnostics) -> Iterator[Line]:
    for quantity, found in {**diagnostics.searches, **diagnostics.noise}.items():
        at: Line = {"kind": "annealing", "quantity": quantity, "arm": diagnostics.arm}
        yield from _of_estimate(table, at, found.mean)


def _of_gains(table: Table, gains: AlignmentAndAccuracy) -> Iterator[Line]:
    at: Line = {"kind": "alignment-and-accuracy", "arm": gains.arm, "baseline": gains.baseline}
    yield from _of_seeds(table, {**at, "quantity": "alignment_gained"}, gains.alignment_gained)
    yield {**at, "quantity": "correlation", "value": gains.correlation, "n": len(gains.points)}


def _of_budget(table: Table, budget: SearchBudget) -> Iterator[Line]:
    at: Line = {"kind": "search-budget", "arm": budget.arm}
    for draws, accuracy in zip(budget.draws, budget.accuracy, strict=True):
        yield from _of_estimate(table, {**at, "quantity": "accuracy", "draws": draws}, accuracy)
    yield {**at, "quantity": "seconds_a_draw", "value": budget.seconds_a_draw}


def _of_cost(cost: Cost) -> Iterator[Line]:
    quantities = {
        "runs": cost.runs,
        "done": cost.done,
        "total": cost.total,
        "inherited": cost.inherited,
        **{f"total_{phase}": seconds for phase, seconds in cost.seconds.items()},
        "a_run": cost.a_run,
        **{f"a_run_{phase}": seconds for phase, seconds in cost.seconds_a_run.items()},
        "ratio": cost.ratio,
        "ratio_without_diagnostics": cost.ratio_without_diagnostics,
    }
    at: Line = {"kind": "cost", "arm": cost.arm, "baseline": cost.baseline or ""}
    for quantity, value in quantities.items():
        yield {**at, "quantity": quantity, "value": value}


def _published(row: PublishedRow) -> Iterator[Line]:
    at: Line = {
        "dataset": row.dataset,
        "protocol": row.protocol,
        "selection": row.selection,
        "kind": "published",
        "arm": published_name(row),
    }
    for name, number in (*row.domains.items(), ("", row.average)):
        yield {**at, "test_domains": name, **_as_shares(number)}


def _as_shares(number: PublishedNumber) -> Line:
    """In [0, 1], with the digits that were printed."""
    return {"value": round(number.mean / 100, 3), "standard_error": round(number.error / 100, 3)}
