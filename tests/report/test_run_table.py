"""The rows of `SweepResult.dataframe`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from invented_sweep import invented_sweep

from gga_sweep.metrics import METRICS
from gga_sweep.report import run_table
from gga_sweep.report.run_table import rows_by_run, rows_by_step
from gga_sweep.selection import SweepView, build_table


@pytest.fixture(scope="module")
def view() -> SweepView:
    return invented_sweep()


def test_selected_rows_have_the_accuracies_of_the_table(view: SweepView) -> None:
    table = build_table(view)
    columns, rows = rows_by_run(view, table)
    assert len(rows) == len(view.records)
    selected = [row for row in rows if row["selected"]]
    assert [(row["folder"], row["step"], row["validation_accuracy"]) for row in selected] == [
        (one.folder, one.step, one.score) for one in table.selected
    ]
    of_first = [row["test_accuracy"] for row in selected if row["arm"] == "ERM" and row["test_domains"] == "0"]
    assert of_first == list(table.rows[0].entries[0].values)
    assert all({*row} <= {*columns} for row in rows)


def test_a_run_that_failed_before_its_first_evaluation_has_a_row_without_scores(view: SweepView) -> None:
    _, rows = rows_by_run(view, build_table(view))
    failed = next(row for row in rows if row["status"] == "FAILED")
    assert failed["reason"] == "FileNotFoundError: no image 0045.png"
    assert failed["step"] is None
    assert "test_accuracy" not in failed


def test_each_evaluation_has_a_row_and_one_of_each_selected_run_is_marked(view: SweepView) -> None:
    table = build_table(view)
    columns, rows = rows_by_step(view, table)
    assert len(rows) == sum(len(run.records) for run in view.records)
    marked = [(row["folder"], row["step"]) for row in rows if row["selected"]]
    assert marked == [(one.folder, one.step) for one in table.selected]
    assert all({*row} <= {*columns} for row in rows)


def test_a_sweep_without_runs_has_columns_and_no_rows(view: SweepView) -> None:
    empty = replace(view, records=())
    for rows_by in (rows_by_run, rows_by_step):
        columns, rows = rows_by(empty, build_table(empty))
        assert {"arm", "selected", "validation_accuracy"} <= {*columns}
        assert rows == []


def test_every_column_is_documented(view: SweepView) -> None:
    documented = set(re.findall(r"[a-z_.]+[A-Z]*", run_table.__doc__ or ""))
    documented |= {f"{split}_{metric}" for split in ("train", "validation", "test") for metric in METRICS}
    for rows_by in (rows_by_run, rows_by_step):
        columns, _ = rows_by(view, build_table(view))
        plain = {
            re.sub(r"^params\..*", "params.NAME", re.sub(r"^seconds\..*", "seconds.PHASE", one)) for one in columns
        }
        assert plain <= documented


def test_the_page_on_python_has_the_same_columns() -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    tables = [part for part in (run_table.__doc__ or "").split("\n\n") if part.startswith("|")]
    assert len(tables) == 3
    assert all(table in page for table in tables)
