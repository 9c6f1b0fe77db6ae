"""A report as notebooks show it: plain HTML in the notebook's own style."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from markupsafe import Markup, escape

from gga_sweep.metrics import METRICS
from gga_sweep.report.document import Section, Sheet
from gga_sweep.report.headline import progress_in_words, score_section, uncertainty_in_words
from gga_sweep.report.make_report import Report
from gga_sweep.report.wording import INCOMPLETE_MARK, count
from gga_sweep.selection import Table


def report_to_html(report: Report, places: Mapping[str, str]) -> str:
    """The verdicts, the headline table, and where more is; every name in it is escaped.

    Args:
        places: where more is, by name.
    """
    below = [
        f"{progress_in_words(report.view, report.table)}.",
        *_meaning(report.table),
        *(f"{name}: {place}" for name, place in places.items()),
    ]
    return _to_html(score_section(report.table, report.comparison), below)


def table_to_html(table: Table) -> str:
    """The arms by test domains; every name in it is escaped."""
    return _to_html(score_section(table), _meaning(table))


def _meaning(table: Table) -> Iterator[str]:
    """Of the numbers and marks."""
    yield f"{METRICS[table.metric].title}: {uncertainty_in_words(table)}."
    if table.incomplete:
        yield f"{INCOMPLETE_MARK}: {count(len(table.incomplete), 'cell')} incomplete; the page has the reasons."


def _to_html(section: Section, below: Iterable[str]) -> str:
    verdict = Markup("").join(Markup("<p>{}</p>").format(sentence) for sentence in section.verdict)
    warning = Markup("<p><strong>{}</strong></p>").format(section.warning) if section.warning else ""
    lines = Markup("<br>").join(map(escape, below))
    head = Markup("<p><strong>{}</strong></p>").format(section.title)
    return str(Markup("{}{}{}{}<p>{}</p>").format(head, warning, verdict, _sheet_to_html(section.sheets[0]), lines))


def _sheet_to_html(sheet: Sheet) -> Markup:
    heads = Markup("").join(Markup("<th>{}</th>").format(head) for head in sheet.heads)
    rows = Markup("").join(
        Markup("<tr><th>{}</th>{}</tr>").format(
            row[0],
            Markup("").join(
                Markup("<td><strong>{}</strong></td>" if (i, j) in sheet.bold else "<td>{}</td>").format(cell)
                for j, cell in enumerate(row[1:], start=1)
            ),
        )
        for i, row in enumerate(sheet.rows)
    )
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(heads, rows)
