"""The table as Markdown, with its footnotes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gga_sweep.report.wording import ARM, arm_in_words, column_heads, entry_in_words, footnotes
from gga_sweep.selection import Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&$])")


def render_markdown(table: Table) -> str:
    """A heading, the table in pipes, then a list of footnotes. Names are escaped: none can become markup."""
    heads = [ARM, *column_heads(table)]
    lines = [
        f"## {_escape(table.title)}",
        "",
        _row(heads),
        _row(["---"] * len(heads), escaped=True),
        *(
            _row([arm_in_words(row), *(entry_in_words(entry) for entry in (*row.entries, row.average))])
            for row in table.rows
        ),
        "",
    ]
    for note in footnotes(table):
        lines.append(f"- **{_escape(note.heading)}:** {_escape(note.sentence)}")
        lines += [f"  - {_escape(item)}" for item in note.items]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str], *, escaped: bool = False) -> str:
    return "| " + " | ".join(cell if escaped else _escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
