"""The table on a terminal, or in a pipe: no wider than what it is given."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from gga_sweep.report.wording import ARM, arm_in_words, column_heads, entry_in_words, footnotes
from gga_sweep.selection import Table

PIPE_WIDTH = 100
LISTED = 10  # a terminal lists so many incomplete cells; the other formats list all
_ARM_WIDTH = 34
_GAP = 2


def print_text(table: Table, console: Console | None = None) -> None:
    """Print the table: in colour on a terminal, plain elsewhere."""
    console = console or Console()
    console.print(_renderable(table, console.width))


def render_text(table: Table, width: int = PIPE_WIDTH) -> str:
    """The table as plain text of at most `width` columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        print_text(table, console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _renderable(table: Table, width: int) -> RenderableType:
    blank = Text("")
    blocks = [part for block in _blocks(table, width) for part in (blank, block)]
    return Group(Text(table.title, style="bold"), *blocks, blank, *_notes(table))


def _blocks(table: Table, width: int) -> Iterator[RichTable]:
    """The columns in as many blocks as the width asks for, each with the arms in front."""
    heads = column_heads(table)
    arms = [arm_in_words(row) for row in table.rows]
    cells = [[entry_in_words(entry) for entry in (*row.entries, row.average)] for row in table.rows]
    widths = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(heads)]
    arm_width = min(max(map(len, [ARM, *arms])), _ARM_WIDTH, max(width // 3, len(ARM)))
    for block in _fit(widths, width - arm_width):
        rich = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP, 0, 0), show_edge=False)
        rich.add_column(ARM, width=arm_width, overflow="fold")
        for i in block:
            rich.add_column(Text(heads[i]), min_width=min(widths[i], width - arm_width - _GAP), overflow="fold")
        for arm, row in zip(arms, cells, strict=True):
            rich.add_row(Text(arm), *(Text(row[i]) for i in block))
        yield rich


def _fit(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Column numbers in runs that fit into `room`; a column wider than that stands alone."""
    block: list[int] = []
    used = 0
    for i, width in enumerate(widths):
        if block and used + width + _GAP > room:
            yield block
            block, used = [], 0
        block.append(i)
        used += width + _GAP
    yield block


def _notes(table: Table) -> Iterator[RenderableType]:
    for note in footnotes(table):
        yield Text.assemble((f"{note.heading}: ", "bold"), note.sentence)
        for item in note.items[:LISTED]:
            yield Padding(Text(f"- {item}"), (0, 0, 0, 2))
        if len(note.items) > LISTED:
            yield Padding(Text(f"- and {len(note.items) - LISTED} more, which the other formats list"), (0, 0, 0, 2))
