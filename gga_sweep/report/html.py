"""A sweep as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from gga_sweep.records import RunRecords, RunStatus, Scalar
from gga_sweep.report.content import Report
from gga_sweep.report.plots.catalogue import (
    ACCURACY_PLOT,
    BUDGET_PLOTS,
    COST_PLOT,
    FACTOR_PLOT,
    GAIN_PLOT,
    PLOTS,
    DrawnPlot,
    Plot,
    draw,
)
from gga_sweep.report.plots.svg import printable
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
    protocol_note,
    run_in_words,
)
from gga_sweep.selection import METHODS, Comparison, Entry, Selected, SweepView, Table, domain_label
from gga_sweep.selection.accuracy import accuracy_on_test_domains
from gga_sweep.selection.table import selected_record, status_in_words

_LISTED = 12  # a longer list is folded
_LONG_TABLE = 40  # and so is a table with more rows


@dataclass(frozen=True, slots=True)
class _Part:
    """A section of the page: its id, its title, and its body in HTML."""

    name: str
    title: str
    body: str


def render_html(report: Report) -> str:
    """The whole page; the same text for the same report. Every name in it is escaped."""
    title = escape(report.table.title)
    parts = [part for part in _parts(report) if part.body]
    body = "\n".join(
        [
            f"<header><h1>{escape(report.table.name)}</h1>{_lede(report)}{_contents(parts)}</header>",
            *map(_section, parts),
        ]
    )
    style = resources.files("gga_sweep.report").joinpath("page.css").read_text(encoding="utf-8")
    return printable(
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _parts(report: Report) -> Iterator[_Part]:
    """What the page holds, from the answer to the evidence; a part without a body stays out."""
    table = report.table
    plots = [_plot(draw(plot, report.view, table)) for plot in PLOTS]
    headline = _plot(draw(ACCURACY_PLOT, report.view, table))
    compared = {section.name: section for section in sections(report.comparison)}
    answer = _warning(table) + _answer(table) + _beside(_notes(footnotes(table)), headline)
    yield _Part("accuracy", "Accuracy (%) by test domain", answer)
    yield _Part("methods", "By other selection methods", "".join(map(_other, report.others)))
    for name in ("differences", "hosts"):
        yield _compared(report, compared.get(name))
    yield _compared(report, report.published)
    for name in ("annealing", "budget", "cost"):
        yield _compared(report, compared.get(name))
    yield _Part("factors", "Factors", _drawn_alone(draw(FACTOR_PLOT, report.view, table)))
    yield _Part("plots", "Plots", f'<div class="plots">{"".join(plots)}</div>')
    yield _Part("selected", "Selected runs", _selected_runs(report))
    yield _Part("chosen", "The chosen hyperparameters, to run again", _chosen(report.chosen))
    yield _Part("failures", "Runs that did not end well", _failures(report.view))
    yield _Part("protocol", "Protocol", _notes([protocol_note(table)]))
    yield _Part(
        "environment", "Environment", _facts(report.fingerprint) if report.fingerprint else "<p>Not recorded.</p>"
    )


def _contents(parts: Iterable[_Part]) -> str:
    """Titles without what stands in their brackets."""
    items = "".join(
        f'<li><a href="#{escape(part.name)}">{escape(part.title.split(" (")[0])}</a></li>' for part in parts
    )
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _section(part: _Part) -> str:
    return f'<section id="{escape(part.name)}"><h2>{escape(part.title)}</h2>{part.body}</section>'


def _lede(report: Report) -> str:
    """What was compared, on what, and how far it has come."""
    view = report.view
    statuses = Counter(run.status for run in view.trained_runs)
    missing = sum(len(cell.reasons.get("missing", ())) for cell in report.table.incomplete)
    states = [f"{n} {status_in_words(status)}" for status in RunStatus if (n := statuses[status])]
    states += [f"{missing} missing"] if missing else []
    sentence = (
        f"{count(len(view.trained_arms), 'arm')} on {count(len(view.test_domains), 'test domain')} of {view.dataset} "
        f"with {count(len(view.trial_seeds), 'trial seed')}, under protocol {view.protocol}. "
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
        listed = _list([f"<li>{escape(item)}</li>" for item in note.items])
        parts.append(f"<p><b>{escape(note.heading)}:</b> {escape(note.sentence)}</p>{listed}")
    return f'<div class="notes">{"".join(parts)}</div>'


def _list(items: Sequence[str]) -> str:
    """Finished items as a list, folded where it is long; nothing without one."""
    listed = f"<ul>{''.join(items)}</ul>" if items else ""
    return listed if len(items) <= _LISTED else _folded(f"All {len(items)}", listed)


def _beside(*parts: str) -> str:
    """Parts side by side where the page is wide enough, else one under the other; one part has the width for itself."""
    return f'<div class="side-by-side">{"".join(parts)}</div>'


_BESIDE: Mapping[str, Sequence[Plot[Comparison]]] = {
    "differences": (GAIN_PLOT,),
    "budget": BUDGET_PLOTS,
    "cost": (COST_PLOT,),
}


def _compared(report: Report, section: Section | None) -> _Part:
    """The section's tables, then its footnotes, beside its plots where it has some; no body without a section."""
    if section is None:
        return _Part("", "", "")
    plots = [_plot(draw(plot, report.view, report.comparison)) for plot in _BESIDE.get(section.name, ())]
    notes = _notes(section.notes)
    below = notes + _beside(*plots) if len(plots) > 1 else _beside(notes, *plots)
    body = "".join(map(_sheet, section.sheets)) + below
    return _Part(section.name, section.title, body)


def _other(table: Table) -> str:
    """The same sweep by another method."""
    heading = f"<h3>{escape(table.method_label.capitalize())}</h3>"
    notes = _folded("Notes", _notes(footnotes(table)))
    return f'<div class="other">{heading}{_warning(table)}{_answer(table)}{notes}</div>'


def _warning(table: Table) -> str:
    """Unmissable where a test domain has a say in its own selection."""
    peeks = METHODS[table.method].peeks
    if peeks is None:
        return ""
    return f'<p class="warning"><b>Looks at the test domain.</b> {escape(peeks[0].upper() + peeks[1:])}.</p>'


def _drawn_alone(drawn: DrawnPlot) -> str:
    """A plot with a section of its own; nothing where there was nothing to draw."""
    if drawn.svg is None:
        return ""
    return f'<figure class="alone"><figcaption>{escape(drawn.caption)}</figcaption>{drawn.svg}</figure>'


def _chosen(sweep_file: str) -> str:
    """Nothing where no sweep file could be made."""
    if not sweep_file:
        return ""
    hint = (
        "<p>One sweep file that trains every selected run again. Save it as <code>chosen.yaml</code>, then "
        "<code>gga-sweep run chosen.yaml</code>.</p>"
    )
    return hint + _folded("The file", f'<pre class="file"><code>{escape(sweep_file)}</code></pre>')


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


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
    listed = _table(heads, [_selected_run(one, run, names) for one, run in chosen], css="selected")
    return listed if len(chosen) <= _LONG_TABLE else _folded(f"All {len(chosen)} selected runs", listed)


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
    unhappy = [run for run in view.trained_runs if run.status not in _QUIET]
    if not unhappy:
        return "<p>None: no run failed, diverged, was stopped or was preempted.</p>"
    counts = Counter(run.status for run in unhappy)
    counted = ", ".join(f"{n} {status_in_words(status)}" for status, n in counts.items())
    return f"<p>{counted[0].upper()}{counted[1:]}.</p>{_list([*map(_failure, unhappy)])}"


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
    """What follows a number in brackets stands in smaller type, and in a line of its own where room is short."""
    number, bracket, interval = str(value).partition(" [")
    behind = f' <span class="error">[{escape(interval)}</span>' if bracket else ""
    return f'<td class="number"><span>{escape(number)}</span>{behind}</td>'
