"""The report of a sweep as files in its folder."""

from __future__ import annotations

from dataclasses import replace

from gga_sweep.errors import Fault, InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.report.collect import fingerprint_of
from gga_sweep.report.content import Report
from gga_sweep.spec.location import Location

CHOSEN = "chosen"
"""Beside the formats: the sweep file that runs what was selected."""

_FILES = {
    "text": "table.txt",
    "markdown": "table.md",
    "latex": "table.tex",
    "csv": "table.csv",
    "json": "table.json",
    "html": "report.html",
}
FORMATS = tuple(_FILES)


def check_format(report_format: str) -> None:
    """Refuse an unknown format.

    Raises:
        InputError: naming the known ones.
    """
    if report_format not in FORMATS:
        raise InputError([Fault("--format", "must be a known format", report_format, FORMATS)])


def render(report_format: str, report: Report, ledger: Ledger) -> str:
    """The report in one of `FORMATS`; only the page tells the environment."""
    if report_format == "text":
        from gga_sweep.report.text import render_text

        return render_text(report)
    if report_format == "markdown":
        from gga_sweep.report.markdown import render_markdown

        return render_markdown(report)
    if report_format == "latex":
        from gga_sweep.report.latex import render_latex

        return render_latex(report)
    if report_format == "csv":
        from gga_sweep.report.as_csv import render_csv

        return render_csv(report)
    if report_format == "json":
        from gga_sweep.report.as_json import render_json

        return render_json(report)
    from gga_sweep.report.html import render_html

    return render_html(replace(report, fingerprint=fingerprint_of(ledger, report.view.records)))


def write_report(report: Report, ledger: Ledger) -> dict[str, Location]:
    """Every format, in the sweep's folder, and what was chosen, where something was; the paths by format."""
    texts = {_FILES[report_format]: render(report_format, report, ledger) for report_format in FORMATS}
    if report.chosen:
        texts["chosen.yaml"] = report.chosen
    for name, text in texts.items():
        ledger.store.replace(name, text.encode())
    return dict(zip((*FORMATS, CHOSEN), (ledger.folder / name for name in texts), strict=False))
