"""Results, tables and plots as notebooks show them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import escape

import pytest
from invented_sweep import invented_report, invented_sweep, whole_report

from gga_sweep.api import SweepResult, Table
from gga_sweep.errors import InputError
from gga_sweep.report.headline import score_section
from gga_sweep.report.notebook import report_to_html, table_to_html
from gga_sweep.report.plots.catalogue import PLOTS, draw_figure
from gga_sweep.selection import build_table


def texts(page: str) -> list[str]:
    """Of every cell."""
    return [
        "".join(cell.itertext()) for cell in ET.fromstring(f"<div>{page.replace('<br>', '<br/>')}</div>").iter("td")
    ]


def test_a_result_begins_with_the_verdict_and_has_the_table_with_differences() -> None:
    report = whole_report()
    page = report_to_html(report, {"Page": "results/report.html"})
    section = score_section(report.table, report.comparison)
    assert page.index(escape(section.verdict[0])) < page.index("<table>")
    assert texts(page) == [cell for row in section.sheets[0].rows for cell in row[1:]]
    assert "Page: results/report.html" in page
    assert "*: 3 cells incomplete" in page  # one failed, one out of memory, one missing


def test_a_table_shows_itself() -> None:
    table = build_table(invented_sweep())
    page = table._repr_html_()  # type: ignore[attr-defined]
    assert page == table_to_html(table)
    assert texts(page) == [cell for row in score_section(table).sheets[0].rows for cell in row[1:]]
    assert repr(table).startswith("<Table of demo: accuracy (%) by test domain of RotatedDigits; arms: 3")
    assert hasattr(Table, "_repr_html_")


def test_a_table_by_a_method_that_peeks_warns() -> None:
    table = build_table(invented_sweep(), "oracle")
    assert score_section(table).warning in table_to_html(table)


def test_names_and_places_are_escaped() -> None:
    view = invented_sweep(arms=("ERM", "<script>alert(1)</script>"), name="<b>&", troubled=False)
    page = report_to_html(invented_report(view), {"Page": "<i>"})
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "incomplete" not in page


@pytest.mark.parametrize("name", ["differences", "accuracy-steps"])
def test_a_plot_has_title_drawing_with_legend_and_caption(name: str) -> None:
    plot = draw_figure(name, whole_report())
    figure = ET.fromstring(plot._repr_html_())
    assert figure.find("{http://www.w3.org/2000/svg}svg") is not None
    assert figure.findtext("figcaption") == PLOTS[name].of("accuracy").caption
    assert repr(plot) == f"<DrawnPlot: {PLOTS[name].of('accuracy').title}>"


def test_a_plot_shown_twice_has_other_ids() -> None:
    plot = draw_figure("accuracy", whole_report())
    ids = [{of for element in ET.fromstring(plot._repr_html_()).iter() if (of := element.get("id"))} for _ in range(2)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_the_docstring_of_plot_names_every_plot() -> None:
    args = (SweepResult.plot.__doc__ or "").partition("name:")[2].partition("Returns")[0]
    assert re.findall(r"[a-z-]{2,}", args.replace(" or ", " ")) == [*PLOTS]


def test_an_unknown_plot_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"must be a known plot, got 'diferences'; did you mean 'differences'\?"):
        draw_figure("diferences", whole_report())


def test_a_plot_of_nothing_says_why() -> None:
    report = whole_report()
    with pytest.raises(InputError, match=r"factors: cannot be drawn. No arm has a numeric factor\."):
        draw_figure("factors", report)
    empty = invented_report(replace(report.view, records=()))
    with pytest.raises(InputError, match=r"accuracy: cannot be drawn. No run could be selected yet\."):
        draw_figure("accuracy", empty)
    assert "runs: " in report_to_html(empty, {})
