"""A sweep as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from importlib import resources

from gga_sweep.records import RunRecords, RunStatus, Scalar
from gga_sweep.report.plots import COST_PLOT, GAIN_PLOT, PLOTS, DrawnPlot, Plot, draw
from gga_sweep.report.sections import Section, Sheet, sections
from gga_sweep.report.wording import (
    ARM,
    INCOMPLETE_MARK,
    Footnote,
    arm_in_words,
    column_heads,
    count,
    entry_in_words,
    footnotes,
    percent,
    run_in_words,
)
from gga_sweep.selection import Comparison, Entry, Selected, SweepView, Table, domain_label
from gga_sweep.selection.table import accuracy_on_test_domains, selected_record, status_in_words


@dataclass(frozen=True, slots=True)
class Report:
    """What a page is made from.

    Args:
        view: the sweep.
        table: its table, built from `view`.
        comparison: of its arms, built from both.
        fingerprint: the environment, as name and value; empty if unknown.
        location: where the sweep's ledger is, in words; empty if it is nowhere.
    """

    view: SweepView
    table: Table
    comparison: Comparison
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    location: str = ""


def render_html(report: Report) -> str:
    """The whole page; the same text for the same report. Every name in it is escaped."""
    table = report.table
    title = escape(table.title)
    headline, *plots = (_plot(draw(plot, report.view, table)) for plot in PLOTS)
    body = "\n".join(
        [
            f"<header><h1>{escape(table.name)}</h1>{_lede(report)}</header>",
            _section("Accuracy (%) by test domain", _answer(table) + _beside(_notes(footnotes(table)), headline)),
            *(_compared(report, section) for section in sections(report.comparison)),
            _section("Plots", f'<div class="plots">{"".join(plots)}</div>'),
            _section("Selected runs", _selected_runs(report)),
            _section("Runs that did not end well", _failures(report.view)),
            _section("Environment", _facts(report.fingerprint) if report.fingerprint else "<p>Not recorded.</p>"),
        ]
    )
    style = resources.files("gga_sweep.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _lede(report: Report) -> str:
    """What was compared, on what, and how far it has come."""
    view = report.view
    statuses = Counter(run.status for run in view.records)
    missing = sum(len(cell.reasons.get("missing", ())) for cell in report.table.incomplete)
    states = [f"{n} {status_in_words(status)}" for status in RunStatus if (n := statuses[status])]
    states += [f"{missing} missing"] if missing else []
    sentence = (
        f"{count(len(view.arms), 'arm')} on {count(len(view.test_domains), 'test domain')} of {view.dataset} with "
        f"{count(len(view.trial_seeds), 'trial seed')}, under protocol {view.protocol}. "
        f"Runs: {', '.join(states) or 'none yet'}."
    )
    where = f'<p class="quiet">Ledger: <code>{escape(report.location)}</code></p>' if report.location else ""
    return f'<p class="lede">{escape(sentence)}</p>{where}'


def _answer(table: Table) -> str:
    rows = [
        [_heading(arm_in_words(row)), *(_number(entry) for entry in (*row.entries, row.average))] for row in table.rows
    ]
    return _table([ARM, *column_heads(table)], rows, css="answer")


def _number(entry: Entry) -> str:
    """The mean as `entry_in_words` puts it, what follows it in smaller type."""
    words = entry_in_words(entry)
    mean = percent(entry.mean)
    rest = words.removeprefix(mean).removesuffix(INCOMPLETE_MARK * entry.incomplete)
    mark = f"<span>{INCOMPLETE_MARK}</span>" if entry.incomplete else ""
    return f'<td class="number">{mean}<span class="error">{rest}</span>{mark}</td>'


def _notes(notes: Iterable[Footnote]) -> str:
    parts = []
    for note in notes:
        items = "".join(f"<li>{escape(item)}</li>" for item in note.items)
        listed = f"<ul>{items}</ul>" if items else ""
        parts.append(f"<p><b>{escape(note.heading)}:</b> {escape(note.sentence)}</p>{listed}")
    return f'<div class="notes">{"".join(parts)}</div>'


def _beside(*parts: str) -> str:
    """Parts side by side where the page is wide enough, else one under the other; one part has the width for itself."""
    return f'<div class="side-by-side">{"".join(parts)}</div>'


_BESIDE: Mapping[str, Plot[Comparison]] = {"differences": GAIN_PLOT, "cost": COST_PLOT}


def _compared(report: Report, section: Section) -> str:
    """The section's tables, then its footnotes, beside its plot where it has one."""
    parts = [_notes(section.notes)]
    if (plot := _BESIDE.get(section.name)) is not None:
        parts.append(_plot(draw(plot, report.view, report.comparison)))
    return _section(section.title, "".join(map(_sheet, section.sheets)) + _beside(*parts))


def _sheet(sheet: Sheet) -> str:
    rows = [[_heading(arm), *map(_cell, cells)] for arm, *cells in sheet.rows]
    heading = f"<h3>{escape(sheet.title)}</h3>" if sheet.title else ""
    return _beside(f"<div>{heading}{_table(sheet.heads, rows)}</div>")


def _plot(drawn: DrawnPlot) -> str:
    heading = f"<h3>{escape(drawn.title)}</h3>"
    if drawn.svg is None:
        return f'<div>{heading}<p class="quiet">{escape(drawn.nothing)}</p></div>'
    return f"<figure>{heading}<figcaption>{escape(drawn.caption)}</figcaption>{drawn.svg}</figure>"


def _selected_runs(report: Report) -> str:
    """One row a cell: which draw and step, how it did, and with what hyperparameters."""
    if not report.table.selected:
        return "<p>No run could be selected yet.</p>"
    runs = {(run.cell, run.key): run for run in report.view.records}
    chosen = [(one, runs[one.cell, one.key]) for one in report.table.selected]
    names = sorted({name for _, run in chosen for name in run.hyperparameters})
    heads = [ARM, "Test domain", "Trial seed", "Draw", "Step", "Validation (%)", "Test (%)", *names, "Run"]
    return _table(heads, [_selected_run(one, run, names) for one, run in chosen], css="selected")


def _selected_run(one: Selected, run: RunRecords, names: Iterable[str]) -> list[str]:
    accuracy = accuracy_on_test_domains(selected_record(one, [run]), run.cell)
    cells = [
        domain_label(one.cell.test_domains),
        one.cell.trial_seed,
        f"{one.draw}{' (tied)' if one.tied_draws else ''}",
        f"{one.step}{' (tied)' if one.tied_steps else ''}",
        percent(one.validation_accuracy),
        percent(accuracy),
        *(_value(run.hyperparameters.get(name)) for name in names),
    ]
    return [_heading(one.cell.arm), *(_cell(cell) for cell in cells), f"<td><code>{escape(one.folder)}</code></td>"]


_QUIET = frozenset({RunStatus.DONE, RunStatus.QUEUED, RunStatus.RUNNING})


def _failures(view: SweepView) -> str:
    """Runs that failed, ran out of memory, were preempted, stopped or diverged, each with its reason."""
    unhappy = [run for run in view.records if run.status not in _QUIET]
    if not unhappy:
        return "<p>None: no run failed, diverged, was stopped or was preempted.</p>"
    return f"<ul>{''.join(map(_failure, unhappy))}</ul>"


def _failure(run: RunRecords) -> str:
    what = f"{status_in_words(run.status)}: {run_in_words(run)}"
    reason = run.reason or "no reason recorded"
    return f"<li><b>{escape(what)}</b><br>{escape(reason)}<br><code>{escape(run.folder)}</code></li>\n"


def _facts(facts: Mapping[str, object]) -> str:
    pairs = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(str(value))}</code></dd>" for name, value in _flat(facts)
    )
    return f'<dl class="facts">{pairs}</dl>'


def _flat(facts: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested mappings as dotted names."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _value(value: Scalar | None) -> str:
    """A hyperparameter, floats to four significant digits; empty where the arm has none."""
    if value is None:
        return ""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return str(value)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], css: str = "") -> str:
    """`rows` hold finished cells; `heads` are escaped here."""
    head = "".join(f'<th scope="col">{_breakable(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in rows)
    attribute = f' class="{css}"' if css else ""
    return f'<div class="scroll"><table{attribute}><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _breakable(name: str) -> str:
    """Escaped, and free to break after its dots and underscores."""
    return re.sub(r"([._])", r"\1<wbr>", escape(name))


def _heading(text: str) -> str:
    return f'<th scope="row">{escape(text)}</th>'


def _cell(value: object) -> str:
    return f'<td class="number">{escape(str(value))}</td>'
