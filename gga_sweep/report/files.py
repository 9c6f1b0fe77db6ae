"""The report of a sweep as files in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import msgspec

from gga_sweep.errors import Fault, InputError
from gga_sweep.ledger.json_codec import dump
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.report.collect import fingerprint_of, provenance_of
from gga_sweep.report.latex import render_latex
from gga_sweep.report.long_table import render_csv, render_json
from gga_sweep.report.make_report import Report
from gga_sweep.report.markdown import render_markdown
from gga_sweep.report.text import render_text
from gga_sweep.spec.location import Location

CHOSEN = "chosen"
"""Written beside the formats: the sweep file that trains the selected runs."""

_FILES = {
    "text": "table.txt",
    "markdown": "table.md",
    "latex": "table.tex",
    "csv": "table.csv",
    "json": "table.json",
    "html": "report.html",
}
_CHOSEN_FILE = "chosen.yaml"
_ADDRESSES = "mlflow-pages.json"
"""The addresses that `link_page` was given last: only a launch and `sync` open MLflow."""
FORMATS = tuple(_FILES)
_RENDER: Mapping[str, Callable[[Report], str]] = {
    "text": render_text,
    "markdown": render_markdown,
    "latex": render_latex,
    "csv": render_csv,
    "json": render_json,
}


def check_format(report_format: str) -> None:
    """Refuse an unknown format.

    Raises:
        InputError: with the known ones.
    """
    if report_format not in FORMATS:
        raise InputError([Fault("--format", "must be a known format", report_format, FORMATS)])


def render(report_format: str, report: Report, ledger: Ledger) -> str:
    """The report in one of `FORMATS`; only the page shows the environment, and links to MLflow as of `link_page`."""
    if report_format != "html":
        return _RENDER[report_format](report)
    # It loads matplotlib, which would delay a table on a terminal.
    from gga_sweep.report.html import link_runs, render_html

    folders = dict.fromkeys(run.folder for run in report.view.records)
    headers = [header for header in ledger.read_headers(folders) if header is not None]
    facts = replace(report, fingerprint=fingerprint_of(headers), provenance=provenance_of(ledger, headers))
    addresses: dict[str, str] = {}
    with suppress(ValueError):  # a broken file costs the links only; the next launch or sync writes it anew
        addresses = msgspec.json.decode(ledger.store.read(_ADDRESSES) or b"{}", type=dict[str, str])
    return link_runs(render_html(facts), addresses)


def present_files(ledger: Ledger) -> dict[str, Location]:
    """The paths of the report's files that were written, as `write_report` returns them."""
    names = {**_FILES, CHOSEN: _CHOSEN_FILE}
    return {name: ledger.folder / file for name, file in names.items() if ledger.store.read(file) is not None}


def write_report(report: Report, ledger: Ledger) -> dict[str, Location]:
    """Write every format into the sweep's folder, and `chosen.yaml` if it can be written.

    Returns:
        The paths by format, `CHOSEN` among them.
    """
    texts = {_FILES[report_format]: render(report_format, report, ledger) for report_format in FORMATS}
    if report.chosen:
        texts[_CHOSEN_FILE] = report.chosen
    for name, text in texts.items():
        ledger.store.replace(name, text.encode())
    return dict(zip((*FORMATS, CHOSEN), (ledger.folder / name for name in texts), strict=False))


def link_page(ledger: Ledger, addresses: Mapping[str, str]) -> None:
    """Add links to the written page, and keep them for pages to come.

    MLflow has the addresses only after it has received the page.

    Args:
        ledger: of the sweep.
        addresses: of the runs' pages in MLflow, by folder.
    """
    from gga_sweep.report.html import link_runs

    if not addresses:
        return
    ledger.store.replace(_ADDRESSES, dump(addresses).encode())
    if page := ledger.store.read(_FILES["html"]):
        ledger.store.replace(_FILES["html"], link_runs(page.decode(), addresses).encode())
