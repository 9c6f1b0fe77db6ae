"""Every surface of a report names the sweep's metric, and has its numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape

import pytest
from invented_sweep import invented_report, invented_sweep
from made_runs import measured_by

from gga_sweep.metrics import METRICS, SELECTING
from gga_sweep.report.html import render_html
from gga_sweep.report.latex import render_latex
from gga_sweep.report.long_table import render_csv, render_json
from gga_sweep.report.make_report import Report
from gga_sweep.report.markdown import render_markdown
from gga_sweep.report.notebook import report_to_html
from gga_sweep.report.plots.catalogue import PLOTS, draw_figure
from gga_sweep.report.run_table import rows_by_run
from gga_sweep.report.text import render_text
from gga_sweep.selection import build_table

OTHERS = [metric for metric in SELECTING if metric != "accuracy"]
WRITERS = (render_text, render_markdown, render_latex, lambda report: report_to_html(report, {}))


@pytest.fixture(scope="module")
def by_accuracy() -> Report:
    return invented_report(invented_sweep())


@pytest.fixture(scope="module")
def by_metric() -> dict[str, Report]:
    return {metric: invented_report(measured_by(invented_sweep(), metric)) for metric in OTHERS}


@pytest.mark.parametrize("metric", OTHERS)
def test_words_and_numbers_are_those_of_a_sweep_by_accuracy_with_the_name_of_the_metric(
    metric: str, by_accuracy: Report, by_metric: dict[str, Report]
) -> None:
    for write in WRITERS:
        expected, found = write(by_accuracy), write(by_metric[metric])
        assert "accuracy" not in found.lower().replace("balanced accuracy", "").replace("balanced-accuracy", "")
        assert METRICS[metric].label in found
        numbers = re.compile(r"\d+\.\d")
        assert sorted(numbers.findall(found)) == sorted(numbers.findall(expected))


@pytest.mark.parametrize("metric", OTHERS)
def test_records_have_the_name_of_the_metric_in_place_of_accuracy(
    metric: str, by_accuracy: Report, by_metric: dict[str, Report]
) -> None:
    assert render_csv(by_metric[metric]) == re.sub(r"(?<=,)accuracy(?=,)", metric, render_csv(by_accuracy)).replace(
        "validation_accuracy", f"validation_{metric}"
    ).replace("alignment-and-accuracy", f"alignment-and-{metric}").replace("accuracy_gained", f"{metric}_gained")
    found = json.loads(render_json(by_metric[metric]))
    assert found["metric"] == metric
    assert {row["kind"] for row in found["records"]} >= {metric, "average", "worst", f"alignment-and-{metric}"}
    assert found["sections"][0]["name"] == metric.replace("_", "-")


def test_the_page_and_its_plots_name_the_metric(by_metric: dict[str, Report]) -> None:
    page = unescape(render_html(by_metric["macro_f1"]))
    assert "<h3>Macro F1 (%) by test domain</h3>" in page
    words = re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not re.search("accurac", words, re.IGNORECASE)
    plot = draw_figure("accuracy-steps", by_metric["macro_f1"])
    assert plot.title == "Macro F1 over training"
    for name, plot_of_any in PLOTS.items():
        shown = plot_of_any.of("auroc")
        assert "accurac" not in f"{shown.title}{shown.caption}{shown.nothing}", name
        assert "{" not in f"{shown.title}{shown.caption}{shown.nothing}", name


def test_a_data_frame_has_every_metric_and_is_empty_where_one_is_undefined(by_metric: dict[str, Report]) -> None:
    report = by_metric["macro_f1"]
    columns, rows = rows_by_run(report.view, report.table)
    assert {f"{split}_{metric}" for split in ("validation", "test") for metric in METRICS} <= {*columns}
    selected = [row for row in rows if row["selected"]]
    assert [row["validation_macro_f1"] for row in selected] == [one.score for one in report.table.selected]
    assert {row["test_auroc"] for row in selected} == {None}


def test_the_worst_test_domain_stands_beside_the_average(by_accuracy: Report) -> None:
    sheet = by_accuracy.sections[0].sheets[0]
    at = sheet.heads.index("Worst")
    assert sheet.heads[at - 1] == "Average"
    complete = build_table(invented_sweep(troubled=False))
    for row in complete.rows:
        lowest = [min(values) for values in zip(*(entry.values for entry in row.entries), strict=True)]
        assert row.worst.values == tuple(lowest)
    alone = invented_report(replace(invented_sweep(test_domains=("75",))))
    assert "Worst" not in alone.sections[0].sheets[0].heads
