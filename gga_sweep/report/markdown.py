"""A report as Markdown: its tables with their footnotes, and the comparison of its arms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from gga_sweep.report.content import Report
from gga_sweep.report.sections import Section, sections
from gga_sweep.report.wording import ARM, Footnote, arm_in_words, column_heads, entry_in_words, footnotes
from gga_sweep.selection import Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&$])")
_BEGINNING = re.compile(r"^(\d{0,9})([-+.)])(?=[-\s]|$)")  # of a list or a rule


def render_markdown(report: Report) -> str:
    """A heading, the table in pipes, a list of footnotes; then each section and each other table in the same way.

    Names are escaped: none can become markup.
    """
    lines = [*_of_table(report.table)]
    for section in (*sections(report.comparison), *([report.published] if report.published else [])):
        lines += ["", *_of_section(section)]
    for table in report.others:
        lines += ["", *_of_table(table)]
    return "\n".join(lines) + "\n"


def _of_table(table: Table) -> Iterator[str]:
    rows = [
        (arm_in_words(row), *(entry_in_words(entry) for entry in (*row.entries, row.average))) for row in table.rows
    ]
    yield f"## {_escape(table.title)}"
    yield from _table((ARM, *column_heads(table)), rows)
    yield from _notes(footnotes(table))


def _of_section(section: Section) -> Iterator[str]:
    yield f"### {_escape(section.title)}"
    for sheet in section.sheets:
        yield from ["", f"**{_escape(sheet.title)}**"] if sheet.title else []
        yield from _table(sheet.heads, sheet.rows)
    yield from _notes(section.notes)


def _table(heads: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """With an empty line before and behind."""
    yield ""
    yield _row(heads)
    yield _row(["---"] * len(heads), escaped=True)
    yield from map(_row, rows)
    yield ""


def _notes(notes: Iterable[Footnote]) -> Iterator[str]:
    for note in notes:
        yield f"- **{_escape(note.heading)}:** {_escape(note.sentence)}"
        yield from ("  - " + _BEGINNING.sub(r"\1\\\2", _escape(item)) for item in note.items)


def _row(cells: Iterable[str], *, escaped: bool = False) -> str:
    return "| " + " | ".join(cell if escaped else _escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
