"""A report on a terminal, or in a pipe: its tables and sections, no wider than what they are given."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from gga_sweep.report.content import Report
from gga_sweep.report.sections import Section, sections
from gga_sweep.report.wording import ARM, Footnote, arm_in_words, column_heads, entry_in_words, footnotes
from gga_sweep.selection import Comparison, Table

PIPE_WIDTH = 100
LISTED = 10  # a terminal lists so many items of a footnote; the other formats list all
_ARM_WIDTH = 34
_FOLDED_ARM_WIDTH = 16  # so narrow may the arms fold to keep all columns in one block
_GAP = 2  # one of padding, one for the divider that the box leaves empty
_BLANK = Text("")


def print_report(report: Report, console: Console) -> None:
    """Print the headline, the comparison, the published rows and the other tables: in colour on a terminal."""
    print_text(report.table, console, report.comparison)
    if report.published is not None:
        console.print(_of_section(report.published, console.width))
    for table in report.others:
        console.print()
        print_text(table, console)


def print_text(table: Table, console: Console | None = None, comparison: Comparison | None = None) -> None:
    """Print the table, and the comparison where one is given: in colour on a terminal, plain elsewhere."""
    console = console or Console()
    console.print(_of_table(table, console.width))
    for section in sections(comparison) if comparison else ():
        console.print(_of_section(section, console.width))


def render_text(report: Report, width: int = PIPE_WIDTH) -> str:
    """The same as plain text of at most `width` columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        print_report(report, console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _of_table(table: Table, width: int) -> RenderableType:
    rows = [
        (arm_in_words(row), *(entry_in_words(entry) for entry in (*row.entries, row.average))) for row in table.rows
    ]
    blocks = _blocks((ARM, *column_heads(table)), rows, width)
    return Group(Text(table.title, style="bold"), *blocks, _BLANK, *_notes(footnotes(table)))


def _of_section(section: Section, width: int) -> RenderableType:
    parts: list[RenderableType] = [_BLANK, Text(section.title, style="bold")]
    for sheet in section.sheets:
        if sheet.title:
            parts += [_BLANK, Text(sheet.title)]
        parts += _blocks(sheet.heads, sheet.rows, width)
    return Group(*parts, _BLANK, *_notes(section.notes))


def _blocks(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[RenderableType]:
    """The columns in as many blocks as the width asks for, each with the first, the arms, in front."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    arm_width = _arm_width(widths, width)
    for block in _fit(widths[1:], width - arm_width):
        rich = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False)
        rich.add_column(ARM, width=arm_width, overflow="fold")
        for i in block:
            rich.add_column(Text(heads[i]), min_width=min(widths[i], width - arm_width - _GAP), overflow="fold")
        for row in rows:
            rich.add_row(Text(row[0]), *(Text(row[i]) for i in block))
        yield _BLANK
        yield rich


def _arm_width(widths: Sequence[int], width: int) -> int:
    """A third of the width at most, less where this lets all columns stand side by side."""
    left = width - sum(_GAP + column for column in widths[1:])
    usual = min(widths[0], _ARM_WIDTH, max(width // 3, len(ARM)))
    return left if _FOLDED_ARM_WIDTH <= left < usual else usual


def _fit(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Numbers of the columns behind the first, in runs that fit into `room`; one wider than that stands alone."""
    block: list[int] = []
    used = 0
    for i, width in enumerate(widths, start=1):
        if block and used + width + _GAP > room:
            yield block
            block, used = [], 0
        block.append(i)
        used += width + _GAP
    yield block


def _notes(notes: Iterable[Footnote]) -> Iterator[RenderableType]:
    for note in notes:
        yield Text.assemble((f"{note.heading}: ", "bold"), note.sentence)
        for item in note.items[:LISTED]:
            yield Padding(Text(f"- {item}"), (0, 0, 0, 2))
        if len(note.items) > LISTED:
            yield Padding(Text(f"- and {len(note.items) - LISTED} more, which the other formats list"), (0, 0, 0, 2))
