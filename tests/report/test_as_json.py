"""The table as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from invented_sweep import invented_sweep

from gga_sweep.report.as_json import render_json
from gga_sweep.selection import Table, build_table


def test_numbers_are_kept_in_full(table: Table) -> None:
    read = json.loads(render_json(table))
    for row, source in zip(read["rows"], table.rows, strict=True):
        assert [cell["mean"] for cell in row["cells"]] == [entry.mean for entry in source.entries]
        assert row["average"]["standard_error"] == source.average.standard_error
        assert row["average"]["values"] == list(source.average.values)
        assert row["runs"] == {status.value: n for status, n in source.runs.items()}


def test_protocol_selection_and_uncertainty_are_told(table: Table) -> None:
    read = json.loads(render_json(table))
    assert read["protocol"] == {"name": "quick", "deviations": [*table.deviations]}
    assert read["selection"] == {
        "method": "training-domain-validation",
        "label": "training-domain validation",
        "exclude_diverged": False,
    }
    assert read["uncertainty"] == "mean ± standard error over 3 trial seeds (population, ddof 0)"


def test_what_is_absent_is_null_and_counted() -> None:
    sweep = invented_sweep(troubled=False)
    empty = build_table(replace(sweep, records=sweep.records[:4]))
    assert math.isnan(empty.rows[1].average.mean)
    row = json.loads(render_json(empty))["rows"][1]
    assert row["average"] == {
        "mean": None,
        "standard_error": None,
        "n": 0,
        "expected": 3,
        "incomplete": True,
        "values": [None, None, None],
    }


def test_incomplete_cells_and_selected_runs_are_listed(table: Table) -> None:
    read = json.loads(render_json(table))
    assert read["incomplete"][0] == {
        "arm": "ERM",
        "test_domains": ["0"],
        "trial_seed": 1,
        "reasons": {"failed": [1]},
        "selected": True,
    }
    first = table.selected[0]
    assert len(read["selected"]) == len(table.selected)
    assert (read["selected"][0]["key"], read["selected"][0]["step"]) == (first.key, first.step)
