"""Every number of a report as one long table with one record per number, for CSV and JSON.

The meaning of `value`, by `kind` and `quantity`:

| kind | quantity | value |
|---|---|---|
| METRIC | | on `test_domains`, in [0, 1]; `standard_error` with ddof 0, as is usual in the field |
| average | | the same, over all test domains |
| worst | | the same, of the lowest test domain of each trial seed |
| difference-selected, difference-matched | | of the metric, the arm's minus its baseline's, in [-1, 1]; ddof 1 |
| difference-algorithms | an algorithm | of the annealed one minus the plain one; `holm_p` is over these alone |
| difference-algorithms | mean | the same, over all algorithms |
| factor | a factor | spread between the true means of its levels, in [0, 1], with `low` and `high` |
| factor-level | a factor = a level | mean of the metric over its selected runs, in [0, 1] |
| annealing | as in `selection.annealing_effect` | mean over annealed steps; ddof 1 |
| annealing | runs, steps | the numbers that the means are over |
| annealing-left-out | as annealing | steps at which the quantity was measured and is undefined |
| annealing-measured | as annealing | steps at which the quantity was measured |
| alignment-and-METRIC | alignment_gained, METRIC_gained | a cosine; a difference of the metric; by trial seed |
| alignment-and-METRIC | correlation | Pearson's, of both over trial seeds |
| alignment-and-METRIC | over arms | Spearman's, of both over arms, by trial seed and on average |
| selected | draw, step, validation_METRIC, tied_steps, tied_draws | of the run that is selected in the cell |
| selected-steps | before, inside, after | selected steps there, relative to the annealing window |
| runs | a status | runs of the arm that have it |
| draws | planned, searched | draws of each cell, and whether a user's own searcher suggested them |
| ties | steps, draws | selected runs, and cells, with several best ones |
| search-budget | METRIC | expected of the run selected among `draws` draws of a cell, in [0, 1]; ddof 1 |
| search-budget | seconds_a_draw | device-seconds of a draw in one cell |
| search-budget | largest_cell, left_out | selectable runs of the largest cell; runs that cannot be selected |
| cost | runs, done, of_pairs | numbers of runs |
| cost | total, a_run, each also by phase | device-seconds of all runs; mean of a done one |
| cost | inherited | device-seconds of the total that other runs spent, on steps they share |
| cost | ratio, ratio_without_diagnostics | a done run to one of the baseline |
| published | | on `test_domains`, or on average where these are absent, in [0, 1]; `standard_error` is the printed ± |

METRIC is the sweep's, such as accuracy; the column `metric` has it.

A record without `trial_seed` is the mean over trial seeds, of which `n` of `expected` have a value; a record with a
trial seed is the value of that seed. A difference has its verdict in `finding`: better, worse, no
difference shown, too few trial seeds, same difference in all trial seeds, or no complete pair. The smallest
detectable difference is `detectable` at the 5 % level, `detectable_adjusted` at 5 % over the number of arms. What is
absent, or not finite, is empty in CSV, and null or absent in JSON.

The CSV repeats sweep, dataset, protocol, metric, selection and deviations in each row, so that tables of several
sweeps can be put below each other. It is quoted by RFC 4180, and numbers have all their digits. Names are not changed,
also those that begin with =, +, - or @, which a spreadsheet may interpret as a formula: import the file there as text.
One call reads it, `pandas.read_csv(path, dtype={"test_domains": str}, keep_default_na=False, na_values=[""])`; pandas 2
also needs `float_precision="round_trip"` for the last bit.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import Any

from gga_sweep.records import Cell
from gga_sweep.report.headline import uncertainty_in_words
from gga_sweep.report.make_report import Report
from gga_sweep.report.published import PublishedNumber, PublishedRow, published, published_name
from gga_sweep.selection import (
    METHODS,
    AlignmentAndScore,
    AnnealingDiagnostics,
    Comparison,
    Cost,
    Entry,
    FactorEffect,
    IncompleteCell,
    Row,
    SeedEstimate,
    Selected,
    Table,
    Verdict,
    alignment_over_arms,
    domain_label,
    mean_gain,
)
from gga_sweep.selection.expected_best import SearchBudget
from gga_sweep.selection.verdict import verdicts
from gga_sweep.spec.arms import short

Record = dict[str, str | float | bool]
"""A number with its context, by column."""

COLUMNS = (
    *(
        "sweep",
        "dataset",
        "protocol",
        "deviations",
        "metric",
        "selection",
        "select_from",
        "exclude_diverged",
        "seed_use",
    ),
    *("kind", "quantity", "arm", "baseline", "test_domains", "trial_seed", "draws"),
    *("value", "n", "expected", "standard_error", "ddof", "low", "high", "p", "holm_p", "detectable"),
    *("detectable_adjusted", "pairs", "incomplete", "finding"),
)


def render_csv(report: Report) -> str:
    """Every record as a row below a line of `COLUMNS`; lines end in CRLF.

    First the headline table with the comparison, then the tables by other methods, then every published row on the
    dataset where the report shows some.
    """
    table = report.table
    records = [
        _with_head(table, chain(_of_table(table), _of_comparison(table, report.comparison))),
        *(_with_head(other, _of_table(other)) for other in report.others),
        _published(report),
    ]
    return to_csv(COLUMNS, chain.from_iterable(records))


def render_json(report: Report) -> str:
    """The verdicts, the records of each table with the facts of the whole table, and the report in words.

    Ends with a newline.
    """
    table, sections = report.table, report.sections
    content = {
        "verdict": sections[0].verdict,
        **_table_to_json(table, chain(_of_table(table), _of_comparison(table, report.comparison))),
        "missing_pairs": [
            {"estimand": one.estimand, "arm": one.arm, "baseline": one.baseline, **_plain(pair)}
            for one in (*report.comparison.selected, *report.comparison.matched)
            for pair in one.missing
        ],
        "others": [_table_to_json(other, _of_table(other)) for other in report.others],
        "published": [*_published(report)],
        "sections": sections,
    }
    return to_json(content)


def to_csv(columns: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    """Records as CSV: floats in the fewest digits that give them back, empty where absent or not finite."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    for record in records:
        writer.writerow({column: _plain(value) for column, value in record.items()})
    return file.getvalue()


def to_json(content: Any) -> str:
    """Content as JSON: full floats, null where absent or not finite; dataclasses by their fields."""
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """In JSON's own types."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, frozenset):
        return _plain(sorted(value))
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value


def _with_head(table: Table, records: Iterable[Record]) -> Iterator[Record]:
    """The records, with the facts of the whole table in front."""
    head: Record = {
        "sweep": table.name,
        "dataset": table.dataset,
        "protocol": table.protocol,
        "deviations": "; ".join(table.deviations),
        "metric": table.metric,
        "selection": table.method,
        "select_from": table.select_from,
        "exclude_diverged": table.exclude_diverged,
        "seed_use": table.seed_use,
    }
    return ({**head, **record} for record in records)


def _table_to_json(table: Table, records: Iterable[Record]) -> dict[str, Any]:
    return {
        "title": table.title,
        "sweep": table.name,
        "dataset": table.dataset,
        "protocol": {"name": table.protocol, "deviations": table.deviations},
        "metric": table.metric,
        "selection": {
            "method": table.method,
            "label": table.method_label,
            "peeks": METHODS[table.method].peeks,
            "exclude_diverged": table.exclude_diverged,
            "select_from": table.select_from,
            "first_step": table.first_step,
        },
        "uncertainty": uncertainty_in_words(table),
        "seed_use": table.seed_use,
        "trial_seeds": table.trial_seeds,
        "test_domains": table.columns,
        "records": [*records],
        "incomplete": [_with_cell(one) for one in table.incomplete],
        "selected": [_with_cell(one) for one in table.selected],
    }


def _with_cell(one: IncompleteCell | Selected) -> dict[str, Any]:
    """Its fields, those of its cell among them."""
    plain = _plain(one)
    return {**plain.pop("cell"), **plain}


def _of_table(table: Table) -> Iterator[Record]:
    incomplete = {one.cell for one in table.incomplete}
    for row in table.rows:
        yield from _of_row(table, row, incomplete)
    for one in table.selected:
        at: Record = {
            "kind": "selected",
            "arm": one.cell.arm,
            "test_domains": domain_label(one.cell.test_domains),
            "trial_seed": one.cell.trial_seed,
        }
        tied = {"tied_steps": one.tied_steps, "tied_draws": one.tied_draws}
        scored = {f"validation_{table.metric}": one.score}
        yield from _of_quantities(at, {"draw": one.draw, "step": one.step, **scored, **tied})


def _of_row(table: Table, row: Row, incomplete: Container[Cell]) -> Iterator[Record]:
    for column, entry in zip(table.columns, row.entries, strict=True):
        at: Record = {"kind": table.metric, "arm": row.arm, "test_domains": domain_label(column)}
        cells = [Cell(table.dataset, row.arm, column, seed) for seed in table.trial_seeds]
        yield from _of_entry(table, at, entry, [cell in incomplete for cell in cells])
    average: Record = {"kind": "average", "arm": row.arm}
    yield from _of_entry(table, average, row.average, _incomplete_seeds(table, (row.arm,)))
    worst: Record = {"kind": "worst", "arm": row.arm}
    yield from _of_entry(table, worst, row.worst, _incomplete_seeds(table, (row.arm,)))
    for status, n in sorted(row.runs.items()):
        yield {"kind": "runs", "quantity": status.value.lower(), "arm": row.arm, "value": n}
    yield {"kind": "draws", "quantity": "searched" if row.searched else "planned", "arm": row.arm, "value": row.draws}
    yield {"kind": "ties", "quantity": "steps", "arm": row.arm, "value": row.tied_steps}
    yield {"kind": "ties", "quantity": "draws", "arm": row.arm, "value": row.tied_draws}


def _of_entry(table: Table, at: Record, entry: Entry, incomplete: Sequence[bool]) -> Iterator[Record]:
    numbers = {name: getattr(entry, name) for name in ("n", "expected", "standard_error", "incomplete")}
    yield {**at, "value": entry.mean, "ddof": 0, **numbers}
    for record, marked in zip(_of_seeds(table, at, entry.values), incomplete, strict=True):
        yield {**record, "incomplete": marked}


def _incomplete_seeds(table: Table, arms: Sequence[str]) -> list[bool]:
    """Of each trial seed, whether a cell of one of the arms is incomplete."""
    seeds = {one.cell.trial_seed for one in table.incomplete if one.cell.arm in arms}
    return [seed in seeds for seed in table.trial_seeds]


def _of_seeds(table: Table, at: Record, values: Sequence[float]) -> Iterator[Record]:
    for seed, value in zip(table.trial_seeds, values, strict=True):
        yield {**at, "trial_seed": seed, "value": value}


def _of_comparison(table: Table, comparison: Comparison) -> Iterator[Record]:
    for verdict in (*comparison.verdicts, *verdicts(comparison.matched)):
        yield from _of_verdict(table, {"kind": f"difference-{verdict.contrast.estimand}"}, verdict)
    algorithms = [gain.algorithm for gain in comparison.algorithms]
    found = verdicts([gain.contrast for gain in comparison.algorithms])
    for algorithm, verdict in zip(algorithms, found, strict=True):
        yield from _of_verdict(table, {"kind": "difference-algorithms", "quantity": algorithm}, verdict)
    if mean := mean_gain(comparison.algorithms):
        yield from _of_estimate(table, {"kind": "difference-algorithms", "quantity": "mean"}, mean)
    for effect in comparison.factors:
        yield from _of_factor(effect)
    if over_arms := alignment_over_arms(comparison.gains):
        yield from _of_estimate(table, {"kind": f"alignment-and-{table.metric}", "quantity": "over arms"}, over_arms)
    for diagnostics in comparison.annealing:
        yield from _of_annealing(table, diagnostics)
    for gains in comparison.gains:
        yield from _of_gains(table, gains)
    for steps in comparison.steps:
        places = {name: getattr(steps, name) for name in ("before", "inside", "after")}
        yield from _of_quantities({"kind": "selected-steps", "arm": steps.arm}, places)
    for budget in comparison.budget:
        yield from _of_budget(table, budget)
    for cost in comparison.costs:
        yield from _of_cost(cost)


def _of_quantities(at: Record, quantities: Mapping[str, float]) -> Iterator[Record]:
    return ({**at, "quantity": name, "value": value} for name, value in quantities.items())


def _of_verdict(table: Table, kind: Record, verdict: Verdict) -> Iterator[Record]:
    contrast = verdict.contrast
    at: Record = {**kind, "arm": contrast.arm, "baseline": contrast.baseline}
    mean, *seeds = _of_estimate(table, at, contrast.difference)
    yield {
        **mean,
        "holm_p": contrast.holm_p,
        "detectable_adjusted": verdict.detectable,
        "pairs": contrast.pairs,
        "incomplete": contrast.incomplete,
        "finding": verdict.finding.value,
    }
    if contrast.estimand == "selected":
        incomplete = _incomplete_seeds(table, (contrast.arm, contrast.baseline))
    else:
        missing = {pair.trial_seed for pair in contrast.missing}
        incomplete = [seed in missing for seed in table.trial_seeds]
    for record, marked in zip(seeds, incomplete, strict=True):
        yield {**record, "incomplete": marked}


def _of_estimate(table: Table, at: Record, estimate: SeedEstimate) -> Iterator[Record]:
    names = ("n", "expected", "standard_error", "low", "high", "p", "detectable")
    yield {**at, "value": estimate.mean, "ddof": 1, **{name: getattr(estimate, name) for name in names}}
    yield from _of_seeds(table, at, estimate.values)


def _of_factor(effect: FactorEffect) -> Iterator[Record]:
    numbers = {name: getattr(effect, name) for name in ("n", "expected", "low", "high", "p", "holm_p")}
    yield {"kind": "factor", "quantity": effect.factor, "arm": effect.arms[0][0], "value": effect.spread, **numbers}
    for level, arms, mean in zip(effect.levels, effect.arms, effect.means, strict=True):
        at: Record = {"kind": "factor-level", "quantity": f"{effect.factor} = {short(level)}", "arm": arms[0]}
        yield {**at, "value": mean, "n": effect.n, "expected": effect.expected}


def _of_annealing(table: Table, diagnostics: AnnealingDiagnostics) -> Iterator[Record]:
    at: Record = {"kind": "annealing", "arm": diagnostics.arm}
    found = {**diagnostics.searches, **diagnostics.noise}
    for quantity, one in found.items():
        yield from _of_estimate(table, {**at, "quantity": quantity}, one.mean)
    yield from _of_quantities(at, {"runs": diagnostics.runs, "steps": diagnostics.steps})
    left_out = {quantity: one.left_out for quantity, one in found.items()}
    yield from _of_quantities({"kind": "annealing-left-out", "arm": diagnostics.arm}, left_out)
    measured = {quantity: one.measured for quantity, one in found.items()}
    yield from _of_quantities({"kind": "annealing-measured", "arm": diagnostics.arm}, measured)


def _of_gains(table: Table, gains: AlignmentAndScore) -> Iterator[Record]:
    at: Record = {"kind": f"alignment-and-{table.metric}", "arm": gains.arm, "baseline": gains.baseline}
    gained = {"alignment_gained": gains.alignment_gained, f"{table.metric}_gained": gains.score_gained}
    for quantity, values in gained.items():
        yield from _of_seeds(table, {**at, "quantity": quantity}, values)
    yield {**at, "quantity": "correlation", "value": gains.correlation, "n": len(gains.points)}


def _of_budget(table: Table, budget: SearchBudget) -> Iterator[Record]:
    at: Record = {"kind": "search-budget", "arm": budget.arm}
    for draws, score in zip(budget.draws, budget.scores, strict=True):
        yield from _of_estimate(table, {**at, "quantity": table.metric, "draws": draws}, score)
    numbers = {name: getattr(budget, name) for name in ("seconds_a_draw", "largest_cell", "left_out")}
    yield from _of_quantities(at, numbers)


def _of_cost(cost: Cost) -> Iterator[Record]:
    names = ("runs", "done", "of_pairs", "total", "inherited", "a_run", "ratio", "ratio_without_diagnostics")
    quantities = {
        **{name: getattr(cost, name) for name in names},
        **{f"total_{phase}": seconds for phase, seconds in cost.seconds.items()},
        **{f"a_run_{phase}": seconds for phase, seconds in cost.seconds_a_run.items()},
    }
    return _of_quantities({"kind": "cost", "arm": cost.arm, "baseline": cost.baseline or ""}, quantities)


def _published(report: Report) -> Iterator[Record]:
    return chain.from_iterable(map(_of_published, published(report.table.dataset) if report.published else ()))


def _of_published(row: PublishedRow) -> Iterator[Record]:
    at: Record = {
        "dataset": row.dataset,
        "protocol": row.protocol,
        "selection": row.selection,
        "kind": "published",
        "arm": published_name(row),
    }
    for name, number in (*row.domains.items(), ("", row.average)):
        yield {**at, "test_domains": name, **_as_shares(number)}


def _as_shares(number: PublishedNumber) -> Record:
    """In [0, 1], with the digits that were printed."""
    return {"value": round(number.mean / 100, 3), "standard_error": round(number.error / 100, 3)}
