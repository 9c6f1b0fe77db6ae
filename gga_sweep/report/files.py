"""The report of a sweep as files in its folder."""

from __future__ import annotations

from pathlib import Path

from gga_sweep.errors import Fault, InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.report.as_json import render_json
from gga_sweep.report.collect import fingerprint_of
from gga_sweep.report.html import Report, render_html
from gga_sweep.report.markdown import render_markdown
from gga_sweep.report.text import render_text
from gga_sweep.selection import Comparison, SweepView, Table, compare

FORMATS = ("text", "markdown", "json", "html")
_FILES = {"text": "table.txt", "markdown": "table.md", "json": "table.json", "html": "report.html"}


def check_format(report_format: str) -> None:
    """Refuse an unknown format.

    Raises:
        InputError: naming the known ones.
    """
    if report_format not in FORMATS:
        raise InputError([Fault("--format", "must be a known format", report_format, FORMATS)])


def render(report_format: str, view: SweepView, table: Table, ledger: Ledger) -> str:
    """The table with the comparison of its arms, or the whole page, in one of `FORMATS`."""
    return _render(report_format, view, table, compare(view, table), ledger)


def write_report(view: SweepView, table: Table, ledger: Ledger) -> dict[str, Path]:
    """Every format, in the sweep's folder; the paths by format."""
    comparison = compare(view, table)
    paths = {report_format: ledger.folder / name for report_format, name in _FILES.items()}
    for report_format, path in paths.items():
        ledger.store.replace(path.name, _render(report_format, view, table, comparison, ledger).encode())
    return paths


def _render(report_format: str, view: SweepView, table: Table, comparison: Comparison, ledger: Ledger) -> str:
    if report_format == "html":
        return render_html(Report(view, table, comparison, fingerprint_of(ledger, view.records), str(ledger.folder)))
    if report_format == "text":
        return render_text(table, comparison=comparison)
    return {"markdown": render_markdown, "json": render_json}[report_format](table, comparison)
