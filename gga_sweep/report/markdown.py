"""The table as Markdown, with its footnotes, and the comparison of its arms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from gga_sweep.report.sections import sections
from gga_sweep.report.wording import ARM, Footnote, arm_in_words, column_heads, entry_in_words, footnotes
from gga_sweep.selection import Comparison, Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&$])")


def render_markdown(table: Table, comparison: Comparison) -> str:
    """A heading, the table in pipes, a list of footnotes; then each section of the comparison in the same way.

    Names are escaped: none can become markup.
    """
    rows = [
        (arm_in_words(row), *(entry_in_words(entry) for entry in (*row.entries, row.average))) for row in table.rows
    ]
    lines = [
        f"## {_escape(table.title)}",
        *_table((ARM, *column_heads(table)), rows),
        *_notes(footnotes(table)),
    ]
    for section in sections(comparison):
        lines += ["", f"### {_escape(section.title)}"]
        for sheet in section.sheets:
            lines += ["", f"**{_escape(sheet.title)}**"] if sheet.title else []
            lines += _table(sheet.heads, sheet.rows)
        lines += _notes(section.notes)
    return "\n".join(lines) + "\n"


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
        yield from (f"  - {_escape(item)}" for item in note.items)


def _row(cells: Iterable[str], *, escaped: bool = False) -> str:
    return "| " + " | ".join(cell if escaped else _escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
