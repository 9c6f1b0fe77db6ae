"""A report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.make_report import Report

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&$])")
_BEGINNING = re.compile(r"^(\d{0,9})([-+.)])(?=[-\s]|$)")  # of a list or a rule


def render_markdown(report: Report) -> str:
    """Each section as a heading, its tables in pipes, and a list of its notes.

    Names are escaped: none can become markup.
    """
    return sections_to_markdown(report.sections)


def sections_to_markdown(sections: Iterable[Section]) -> str:
    """The same for any sections."""
    return "\n\n".join("\n".join(_section(section)) for section in sections) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"{'##' if section.headline else '###'} {escape(section.title)}"
    for sentence in section.verdict:
        yield from ("", _BEGINNING.sub(r"\1\\\2", escape(sentence)))
    for sheet in section.sheets:
        yield from ["", f"**{escape(sheet.title)}**"] if sheet.title else []
        yield from _table(sheet)
    yield from _notes(section.notes)


def _table(sheet: Sheet) -> Iterator[str]:
    """With an empty line before and behind."""
    yield ""
    yield _row(map(escape, sheet.heads))
    yield _row(["---"] * len(sheet.heads))
    yield from (_row(map(escape, row)) for row in sheet.rows)
    yield ""


def _notes(notes: Iterable[Footnote]) -> Iterator[str]:
    for note in notes:
        yield f"- **{escape(note.heading)}:** {escape(note.sentence)}"
        yield from ("  - " + _BEGINNING.sub(r"\1\\\2", escape(item)) for item in note.items)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Text on one line, without markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
