"""A report on a terminal or in a pipe, within a given width."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.headline import progress_in_words, score_section
from gga_sweep.report.make_report import Report
from gga_sweep.report.verdict import answer_in_words
from gga_sweep.report.wording import INCOMPLETE_MARK, WORST, count
from gga_sweep.selection import Finding

PIPE_WIDTH = 100
MOST_ARMS = 12  # of a short answer
LISTED = 10  # a terminal lists so many items of a note; the other formats list all
_ARM_WIDTH = 34
_FOLDED_ARM_WIDTH = 16  # the narrowest that arms are folded to keep all columns in one block
_GAP = 2  # one of padding, one for the divider that the box leaves empty
_BLANK = Text("")


def print_report(report: Report, console: Console) -> None:
    """Print every section: in colour on a terminal, plain elsewhere."""
    for i, section in enumerate(report.sections):
        if i:
            console.print()
        console.print(_section(section, console.width))


def print_answer(report: Report, console: Console) -> None:
    """Print what the data say in a few lines: what was compared, the averages with their differences, the verdicts.

    Scores by test domain, and of the worst one, are left out where they do not fit the width, and arms of a long table:
    `print_report` has them.
    """
    section = score_section(report.table, report.comparison)
    sheet, arms = section.sheets[0], _most_important(report)
    rows = tuple(sheet.rows[i] for i in arms)
    short = _that_fit(Sheet("", sheet.heads, rows), 1 + len(report.table.columns), console.width)
    more = len(sheet.rows) - len(arms)
    remarks = [f"and {count(more, 'more arm')}"] * (more > 0)
    if any(cell.endswith(INCOMPLETE_MARK) for row in short.rows for cell in row[1:]):
        remarks.append(f"{INCOMPLETE_MARK} from fewer runs than planned")
    console.print(
        Text(
            f"{report.table.name}: {report.table.metric_label} (%) of {progress_in_words(report.view, report.table)}.",
            style="bold",
        )
    )
    console.print(*_blocks(short, console.width), *map(Text, remarks), sep="\n")
    console.print()
    for sentence in (*filter(None, [section.warning]), *answer_in_words(report.comparison.verdicts)):
        console.print(Text(sentence, style="bold"))


def render_text(report: Report, width: int = PIPE_WIDTH) -> str:
    """The same as plain text of at most `width` columns."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, force_jupyter=False)
    with console.capture() as capture:
        print_report(report, console)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _that_fit(sheet: Sheet, average: int, width: int) -> Sheet:
    """The columns that fit the width: all; without the worst test domain; without any; or the fewest.

    Args:
        average: where its column stands, behind those of the test domains.
    """
    whole = [*range(len(sheet.heads))]
    summary = [0, *whole[average:]]
    worst = [i for i in whole if sheet.heads[i] == WORST and i > average]
    fewest = [i for i in summary if i not in worst]
    widths = [max(map(len, column)) + _GAP for column in zip(sheet.heads, *sheet.rows, strict=True)]
    shown = next(
        (
            columns
            for columns in (whole, [i for i in whole if i not in worst], summary)
            if sum(widths[i] for i in columns) - _GAP <= width
        ),
        fewest,
    )
    heads, *rows = (tuple(row[i] for i in shown) for row in (sheet.heads, *sheet.rows))
    return Sheet("", heads, tuple(rows))


def _most_important(report: Report) -> list[int]:
    """The rows of the table that a short answer shows, in order: all of a short one."""
    rows, verdicts = report.table.rows, report.comparison.verdicts
    baselines = {verdict.contrast.baseline for verdict in verdicts}
    differing = {one.contrast.arm for one in verdicts if one.finding in (Finding.BETTER, Finding.WORSE)}

    def rank(i: int) -> tuple[bool, bool, float]:
        mean = rows[i].average.mean
        return rows[i].arm not in baselines, rows[i].arm not in differing, math.inf if math.isnan(mean) else -mean

    return sorted(sorted(range(len(rows)), key=rank)[:MOST_ARMS])


def _section(section: Section, width: int) -> RenderableType:
    parts: list[RenderableType] = [Text(section.title, style="bold")]
    if section.verdict:
        parts += [_BLANK, *map(Text, section.verdict)]
    for sheet in section.sheets:
        if sheet.title:
            parts += [_BLANK, Text(sheet.title)]
        parts += _blocks(sheet, width)
    return Group(*parts, _BLANK, *_notes(section.notes))


def _blocks(sheet: Sheet, width: int) -> Iterator[RenderableType]:
    """The columns in as many blocks as fit the width, each with the first column, the arms, in front."""
    widths = [_narrowest(head, cells) for head, *cells in zip(sheet.heads, *sheet.rows, strict=True)]
    arm_width = _arm_width(max(map(len, [sheet.heads[0], *(row[0] for row in sheet.rows)])), widths[1:], width)
    whole = [max(map(len, cells)) for cells in zip(sheet.heads, *sheet.rows, strict=True)]  # heads in one line
    for block in _fit(widths[1:], width - arm_width):
        spare = width - arm_width - sum(widths[i] + _GAP for i in block)
        rich = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0), show_edge=False)
        rich.add_column(Text(sheet.heads[0]), width=arm_width, overflow="fold")
        for i in block:
            more = whole[i] - widths[i] if whole[i] - widths[i] <= spare else 0
            spare -= more
            column = min(widths[i] + more, width - arm_width - _GAP)
            rich.add_column(Text(sheet.heads[i]), width=column, overflow="fold")
        for row in sheet.rows:
            rich.add_row(Text(row[0]), *(Text(row[i]) for i in block))
        yield _BLANK
        yield rich


def _narrowest(head: str, cells: Sequence[str]) -> int:
    """The width of a column whose head is broken between words, and whose cells are not."""
    return max(map(len, [*head.split(" "), *cells]))


def _arm_width(longest: int, others: Sequence[int], width: int) -> int:
    """A third of the width at most, less where all columns then stand side by side."""
    left = width - sum(_GAP + column for column in others)
    usual = min(longest, _ARM_WIDTH, max(width // 3, len("Arm")))
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
        items = [*note.items[:LISTED]]
        if len(note.items) > LISTED:
            items.append(f"and {len(note.items) - LISTED} more, which the other formats list")
        yield from (Padding(Text(f"- {item}"), (0, 0, 0, 2)) for item in items)
