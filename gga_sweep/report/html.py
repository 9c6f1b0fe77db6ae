"""A sweep as one self-contained HTML page: no network, and readable without its script."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from html import unescape
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from gga_sweep.metrics import METRICS
from gga_sweep.records import RunStatus, Scalar
from gga_sweep.report.document import Sheet
from gga_sweep.report.headline import progress_in_words, protocol_note
from gga_sweep.report.make_report import Report
from gga_sweep.report.meanings import MEANINGS
from gga_sweep.report.plots.catalogue import PLOTS, draw
from gga_sweep.report.plots.svg import printable
from gga_sweep.report.verdict import answer_in_words, verdicts_in_words
from gga_sweep.report.wording import ARM, AVERAGE, counts_in_words, domains_in_words, percent, run_name
from gga_sweep.selection.table import selected_record
from gga_sweep.selection.tested import score_on_test_domains
from gga_sweep.selection.view import status_in_words

_QUIET = frozenset({RunStatus.DONE, RunStatus.QUEUED, RunStatus.RUNNING})
_MORE = ("gain-accuracy", "alignment-gained", "cost", "loss", "validation-test", "hyperparameters")
_MARKS = "\u25cf\u25a0\u25b2\u25c6\u25bc\u271a\u2716"
"""The signs that look like `plots.style.MARKERS`."""
_IN_MLFLOW = "Its page in MLflow; a store without a server has one while `gga-sweep ui` runs"
_HALVES = re.compile(r"(.*?)( [\[(±].*?)?(\*?)", re.DOTALL)


def render_html(report: Report) -> str:
    """The whole page; the same text for the same report. Every name in it is escaped."""
    headline, *rest = report.sections
    comparison, others = [one for one in rest if not one.headline], [one for one in rest if one.headline]
    failures = [run for run in report.view.trained_runs if run.status not in _QUIET]
    failed = counts_in_words(Counter(run.status for run in failures), dict.fromkeys(run.status for run in failures))
    protocol = protocol_note(report.table)
    page = _template().render(
        name=report.table.name,
        lede=f"{progress_in_words(report.view, report.table)}. Protocol: {report.view.protocol}.",
        names=report.view.arms,
        arms=_numbers(report),
        marks=_MARKS,
        answer=answer_in_words(report.comparison.verdicts),
        verdicts=verdicts_in_words(report.comparison.verdicts),
        headline=replace(headline, notes=tuple(note for note in headline.notes if note != protocol)),
        scores=_average_first(headline.sheets[0]),
        comparison=comparison,
        more=_MORE,
        others=[
            (table.method_label.capitalize(), one, _average_first(one.sheets[0]))
            for table, one in zip(report.others, others, strict=True)
        ],
        selected=_selected_runs(report),
        chosen=report.chosen,
        failures=[
            (f"{status_in_words(run.status)}: {run_name(run)}", run.reason or "no reason recorded", run.folder)
            for run in failures
        ],
        failed=failed[:1].upper() + failed[1:],
        protocol=protocol,
        provenance=[*report.provenance.items()],
        facts=[*_flat(report.fingerprint)],
        metric=METRICS[report.table.metric].title,
        meanings=MEANINGS,
        plots={name: plot.of(report.table.metric) for name, plot in PLOTS.items()},
        draw=lambda name: draw(name, report),
        script=_script(),
    )
    return printable(page.lstrip())


def link_runs(page: str, addresses: Mapping[str, str]) -> str:
    """The page with a link around each run's folder, instead of an older link.

    Args:
        page: from `render_html`, with or without links.
        addresses: of the runs' pages in MLflow, by folder.
    """

    def linked(match: re.Match[str]) -> str:
        address = addresses.get(unescape(match["run"]))
        code = f"<code>{match['run']}</code>"
        return match[0] if address is None else f'<a href="{escape(address)}" title="{_IN_MLFLOW}">{code}</a>'

    return re.sub(rf'(<a href="[^"]*" title="{_IN_MLFLOW}">)?<code>(?P<run>[^<]*)</code>(?(1)</a>)', linked, page)


def _numbers(report: Report) -> dict[str, int]:
    """The number of the arm that a row is of, by the words that rows begin with."""
    numbers = {arm: i for i, arm in enumerate(report.view.arms)}
    searched = {f"{arm} (searched)": i for arm, i in numbers.items() if arm in report.view.searched}
    contrasts = {f"{one.arm} against {one.baseline}": numbers[one.arm] for one in report.comparison.selected}
    return {**searched, **contrasts, **numbers}


def _average_first(sheet: Sheet) -> Sheet:
    """The table with the average, and what stands behind it, in front of the test domains: narrow screens show it."""
    at = len(sheet.heads) - 1 - sheet.heads[::-1].index(AVERAGE)
    rows = (sheet.heads, *sheet.rows)
    heads, *moved = ((row[0], *row[at:], *row[1:at]) for row in rows)
    return Sheet(sheet.title, heads, tuple(moved))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gga_sweep.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters |= {"breakable": _breakable, "halves": _halves, "digest": _digest}
    return environment.get_template("page.html")


@cache
def _script() -> str:
    return resources.files("gga_sweep.report").joinpath("templates/page.js").read_text("utf-8")


def _digest(script: str) -> str:
    """As a Content-Security-Policy names it: the page runs this script, and none that a name might smuggle in."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _breakable(name: str) -> Markup:
    """Allow line breaks after dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


def _halves(cell: str) -> tuple[str, str, str]:
    """A number, what follows it in brackets or behind ±, and the mark of an incomplete one."""
    match = _HALVES.fullmatch(cell)
    assert match is not None
    number, rest, mark = match.groups(default="")
    return number, rest.removeprefix(" "), mark


def _selected_runs(report: Report) -> Sheet:
    """One row a cell: the selected draw and step, their scores, and the hyperparameters."""
    runs = {(run.cell, run.key): run for run in report.view.records}
    selected = [(one, runs[one.cell, one.key]) for one in report.table.selected]
    names = sorted({name for _, run in selected for name in run.hyperparameters})
    rows = tuple(
        (
            one.cell.arm,
            domains_in_words(one.cell.test_domains),
            str(one.cell.trial_seed),
            f"{one.draw}{' (tied)' * bool(one.tied_draws)}",
            f"{one.step}{' (tied)' * bool(one.tied_steps)}",
            percent(one.score),
            percent(score_on_test_domains(selected_record(one, [run]), run.cell, report.table.metric)),
            *(_value(run.hyperparameters.get(name)) for name in names),
            one.folder,
        )
        for one, run in selected
    )
    heads = (ARM, "Test domain", "Trial seed", "Draw", "Step", "Validation (%)", "Test (%)", *names, "Run")
    return Sheet("Selected runs", heads, rows)


def _value(value: Scalar | None) -> str:
    """A hyperparameter, floats to four significant digits; empty where the arm has none."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _flat(facts: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested mappings as dotted names."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
