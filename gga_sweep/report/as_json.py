"""A report's tables and the comparison of its arms as JSON: full floats, what is absent as null."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from gga_sweep.report.content import Report
from gga_sweep.report.sections import Section, sections
from gga_sweep.report.wording import Footnote, footnotes, uncertainty_in_words
from gga_sweep.selection import (
    METHODS,
    AlignmentAndAccuracy,
    AnnealingDiagnostics,
    Comparison,
    Contrast,
    Cost,
    Entry,
    HostGain,
    IncompleteCell,
    Row,
    SeedEstimate,
    Selected,
    Table,
    mean_gain,
)
from gga_sweep.selection.expected_best import SearchBudget

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def render_json(report: Report) -> str:
    """The headline table with the comparison, and the tables by other methods; accuracies in [0, 1].

    Published rows are told as they stand in the other formats, in words. Ends with a newline.
    """
    read = {
        **table_to_json(report.table),
        "comparison": comparison_to_json(report.comparison),
        "others": [table_to_json(table) for table in report.others],
        "published": None if report.published is None else _section(report.published),
    }
    return json.dumps(read, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def table_to_json(table: Table) -> dict[str, Json]:
    """The table in JSON's own types."""
    return {
        "title": table.title,
        "sweep": table.name,
        "dataset": table.dataset,
        "protocol": {"name": table.protocol, "deviations": [*table.deviations]},
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
        "trial_seeds": [*table.trial_seeds],
        "test_domains": [[*column] for column in table.columns],
        "rows": [_row(table, row) for row in table.rows],
        "incomplete": [_incomplete(cell) for cell in table.incomplete],
        "selected": [_selected(one) for one in table.selected],
        "footnotes": _notes(footnotes(table)),
    }


def comparison_to_json(comparison: Comparison) -> dict[str, Json]:
    """The comparison in JSON's own types; differences in [-1, 1], p values and intervals with them."""
    return {
        "selected": [_contrast(contrast) for contrast in comparison.selected],
        "matched": [_contrast(contrast) for contrast in comparison.matched],
        "hosts": [_host(gain) for gain in comparison.hosts],
        "mean_over_hosts": _estimate(mean) if (mean := mean_gain(comparison.hosts)) else None,
        "selected_steps": [
            {"arm": steps.arm, "before": steps.before, "inside": steps.inside, "after": steps.after}
            for steps in comparison.steps
        ],
        "annealing": [_annealing(one) for one in comparison.annealing],
        "alignment_and_accuracy": [_gains(one) for one in comparison.gains],
        "costs": [_cost(one) for one in comparison.costs],
        "search_budget": [_budget(one) for one in comparison.budget],
        "footnotes": {section.name: _notes(section.notes) for section in sections(comparison)},
    }


def _contrast(contrast: Contrast) -> Json:
    return {
        "arm": contrast.arm,
        "baseline": contrast.baseline,
        "difference": _estimate(contrast.difference),
        "holm_p": _number(contrast.holm_p),
        "pairs": contrast.pairs,
        "incomplete": contrast.incomplete,
        "missing": [
            {
                "test_domains": [*pair.test_domains],
                "trial_seed": pair.trial_seed,
                "draw": pair.draw,
                "lacking": {**pair.lacking},
            }
            for pair in contrast.missing
        ],
    }


def _host(gain: HostGain) -> Json:
    return {
        "host": gain.host,
        "arm": gain.contrast.arm,
        "baseline": gain.contrast.baseline,
        "alone": _entry(gain.alone),
        "annealed": _entry(gain.annealed),
        "difference": _estimate(gain.contrast.difference),
        "holm_p": _number(gain.contrast.holm_p),
        "incomplete": gain.contrast.incomplete,
    }


def _estimate(estimate: SeedEstimate) -> dict[str, Json]:
    return {
        "mean": _number(estimate.mean),
        "standard_error": _number(estimate.standard_error),
        "low": _number(estimate.low),
        "high": _number(estimate.high),
        "p": _number(estimate.p),
        "detectable": _number(estimate.detectable),
        "n": estimate.n,
        "expected": estimate.expected,
        "values": [_number(value) for value in estimate.values],
    }


def _annealing(diagnostics: AnnealingDiagnostics) -> Json:
    found = {**diagnostics.searches, **diagnostics.noise}
    return {
        "arm": diagnostics.arm,
        "runs": diagnostics.runs,
        "steps": diagnostics.steps,
        "quantities": {name: {**_estimate(one.mean), "left_out": one.left_out} for name, one in found.items()},
    }


def _gains(gains: AlignmentAndAccuracy) -> Json:
    return {
        "arm": gains.arm,
        "baseline": gains.baseline,
        "trial_seeds": [*gains.trial_seeds],
        "alignment_gained": [_number(value) for value in gains.alignment_gained],
        "accuracy_gained": [_number(value) for value in gains.accuracy_gained],
        "correlation": _number(gains.correlation),
    }


def _cost(cost: Cost) -> Json:
    return {
        "arm": cost.arm,
        "baseline": cost.baseline,
        "runs": cost.runs,
        "seconds": {**cost.seconds},
        "total": cost.total,
        "inherited": cost.inherited,
        "of_pairs": cost.of_pairs,
        "done": cost.done,
        "seconds_a_run": {**cost.seconds_a_run},
        "a_run": _number(cost.a_run),
        "ratio": _number(cost.ratio),
        "ratio_without_diagnostics": _number(cost.ratio_without_diagnostics),
    }


def _budget(budget: SearchBudget) -> Json:
    return {
        "arm": budget.arm,
        "draws": [*budget.draws],
        "accuracy": [_estimate(one) for one in budget.accuracy],
        "largest_cell": budget.largest_cell,
        "seconds_a_draw": _number(budget.seconds_a_draw),
        "left_out": budget.left_out,
    }


def _section(section: Section) -> Json:
    return {
        "title": section.title,
        "sheets": [
            {"title": sheet.title, "heads": [*sheet.heads], "rows": [[*row] for row in sheet.rows]}
            for sheet in section.sheets
        ],
        "footnotes": _notes(section.notes),
    }


def _notes(notes: Iterable[Footnote]) -> list[Json]:
    return [{"heading": note.heading, "sentence": note.sentence, "items": [*note.items]} for note in notes]


def _row(table: Table, row: Row) -> Json:
    columns = zip(table.columns, row.entries, strict=True)
    return {
        "arm": row.arm,
        "searched": row.searched,
        "draws": row.draws,
        "cells": [{"test_domains": [*column], **_entry(entry)} for column, entry in columns],
        "average": _entry(row.average),
        "tied_steps": row.tied_steps,
        "tied_draws": row.tied_draws,
        "runs": {status.value: n for status, n in sorted(row.runs.items())},
    }


def _entry(entry: Entry) -> dict[str, Json]:
    return {
        "mean": _number(entry.mean),
        "standard_error": _number(entry.standard_error),
        "n": entry.n,
        "expected": entry.expected,
        "incomplete": entry.incomplete,
        "values": [_number(value) for value in entry.values],
    }


def _incomplete(cell: IncompleteCell) -> Json:
    return {
        "arm": cell.cell.arm,
        "test_domains": [*cell.cell.test_domains],
        "trial_seed": cell.cell.trial_seed,
        "reasons": {reason: [*draws] for reason, draws in cell.reasons.items()},
        "selected": cell.selected,
    }


def _selected(one: Selected) -> Json:
    return {
        "arm": one.cell.arm,
        "test_domains": [*one.cell.test_domains],
        "trial_seed": one.cell.trial_seed,
        "draw": one.draw,
        "step": one.step,
        "validation_accuracy": _number(one.validation_accuracy),
        "tied_steps": one.tied_steps,
        "tied_draws": one.tied_draws,
        "key": one.key,
        "folder": one.folder,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
