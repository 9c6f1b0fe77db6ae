"""A sweep as one self-contained HTML page: no network, no script."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache

import jinja2
from markupsafe import Markup, escape

from gga_sweep.records import RunStatus, Scalar
from gga_sweep.report.document import Sheet
from gga_sweep.report.headline import protocol_note
from gga_sweep.report.make_report import Report
from gga_sweep.report.plots.catalogue import PLOTS, draw
from gga_sweep.report.plots.svg import printable
from gga_sweep.report.wording import ARM, count, counts_in_words, domains_in_words, percent, run_name
from gga_sweep.selection.accuracy import accuracy_on_test_domains
from gga_sweep.selection.table import selected_record
from gga_sweep.selection.view import status_in_words

_QUIET = frozenset({RunStatus.DONE, RunStatus.QUEUED, RunStatus.RUNNING})
_HALVES = re.compile(r"(.*?)( [\[(±].*?)?(\*?)", re.DOTALL)


def render_html(report: Report) -> str:
    """The whole page; the same text for the same report. Every name in it is escaped."""
    headline, *rest = report.sections
    comparison, others = [one for one in rest if not one.headline], [one for one in rest if one.headline]
    failures = [run for run in report.view.trained_runs if run.status not in _QUIET]
    failed = counts_in_words(Counter(run.status for run in failures), dict.fromkeys(run.status for run in failures))
    page = _template().render(
        name=report.table.name,
        lede=_lede(report),
        location=report.location,
        headline=headline,
        comparison=comparison,
        others=[(table.method_label.capitalize(), one) for table, one in zip(report.others, others, strict=True)],
        selected=_selected_runs(report),
        chosen=report.chosen,
        failures=[
            (f"{status_in_words(run.status)}: {run_name(run)}", run.reason or "no reason recorded", run.folder)
            for run in failures
        ],
        failed=failed[:1].upper() + failed[1:],
        protocol=protocol_note(report.table),
        facts=[*_flat(report.fingerprint)],
        plots=PLOTS,
        draw=lambda name: draw(name, report),
    )
    return printable(page.lstrip())


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
    environment.filters |= {"breakable": _breakable, "halves": _halves}
    return environment.get_template("page.html")


def _breakable(name: str) -> Markup:
    """Allow line breaks after dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


def _halves(cell: str) -> tuple[str, str, str]:
    """A number, what follows it in brackets or behind ±, and the mark of an incomplete one."""
    match = _HALVES.fullmatch(cell)
    assert match is not None
    number, rest, mark = match.groups(default="")
    return number, rest.removeprefix(" "), mark


def _lede(report: Report) -> str:
    """The compared arms, the data, and the progress."""
    view = report.view
    missing = sum(len(cell.reasons.get("missing", ())) for cell in report.table.incomplete)
    statuses = Counter(run.status for run in view.trained_runs)
    states = [counts_in_words(statuses)] * bool(statuses) + [f"{missing} missing"] * bool(missing)
    return (
        f"{count(len(view.trained_arms), 'arm')} on {count(len(view.test_domains), 'test domain')} of {view.dataset} "
        f"with {count(len(view.trial_seeds), 'trial seed')}, under protocol {view.protocol}. "
        f"Runs: {', '.join(states) or 'none yet'}."
    )


def _selected_runs(report: Report) -> Sheet:
    """One row a cell: the selected draw and step, their accuracy, and the hyperparameters."""
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
            percent(one.validation_accuracy),
            percent(accuracy_on_test_domains(selected_record(one, [run]), run.cell)),
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
