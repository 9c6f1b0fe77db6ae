"""The table as JSON: full floats, what is absent as null."""

from __future__ import annotations

import json
import math

from gga_sweep.report.wording import footnotes, uncertainty_in_words
from gga_sweep.selection import Entry, IncompleteCell, Row, Selected, Table

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def render_json(table: Table) -> str:
    """The whole table, accuracies in [0, 1]; ends with a newline."""
    return json.dumps(table_to_json(table), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


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
            "exclude_diverged": table.exclude_diverged,
        },
        "uncertainty": uncertainty_in_words(table),
        "trial_seeds": [*table.trial_seeds],
        "test_domains": [[*column] for column in table.columns],
        "rows": [_row(table, row) for row in table.rows],
        "incomplete": [_incomplete(cell) for cell in table.incomplete],
        "selected": [_selected(one) for one in table.selected],
        "footnotes": [
            {"heading": note.heading, "sentence": note.sentence, "items": [*note.items]} for note in footnotes(table)
        ],
    }


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
