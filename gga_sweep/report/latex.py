"""A report as LaTeX floats, to be included in a paper: its tables and the comparison of its arms, for booktabs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gga_sweep.report.content import Report
from gga_sweep.report.sections import Section, Sheet, sections
from gga_sweep.report.wording import (
    ABSENT,
    ARM,
    Footnote,
    arm_in_words,
    column_heads,
    entry_in_words,
    footnotes,
    percent,
)
from gga_sweep.selection import Entry, Table

LISTED = 8  # a float cannot break over pages, so it lists so many items of a footnote; the other formats list all
WIDTH = 84  # so many characters of \footnotesize stand side by side in the text of an ordinary article
_ARM_WIDTH = 34  # a longer arm wraps
_GAP = 3  # between two columns, in characters

_NUMBER = re.compile(r"([-+<]?)(\d[\d,]*)((?:\.\d+)?(?:e[-+]\d+)?)(.*)", re.DOTALL)
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")
_WITHIN_LIGATURE = re.compile(r"(?<=-)(?=-)|(?<=')(?=')|(?<=,)(?=,)")
_SPACE = re.compile(r"[^\S\N{NO-BREAK SPACE}]+")
_LAST_OF_PDFLATEX = "\N{LATIN SMALL LETTER LONG S}"  # the letters before it are set up without a package
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': r"{\char34}",  # a shorthand's beginning in several languages
    "`": r"\textasciigrave{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\le$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\ge$",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$",
    "\N{GREEK SMALL LETTER GAMMA}": r"$\gamma$",
    "\N{GREEK SMALL LETTER THETA}": r"$\theta$",
    "\N{GREEK SMALL LETTER LAMDA}": r"$\lambda$",
    "\N{GREEK SMALL LETTER XI}": r"$\xi$",
    "\N{GREEK SMALL LETTER RHO}": r"$\rho$",
}


@dataclass(frozen=True, slots=True)
class _Float:
    """One table as it will stand on a page.

    Args:
        label: of its number, for `\\ref`.
        caption: escaped.
        sheet: its words, not escaped.
        bold: (row, column) of the numbers in bold, counted as in `sheet.rows`.
        notes: LaTeX, a paragraph each.
    """

    label: str
    caption: str
    sheet: Sheet
    bold: frozenset[tuple[int, int]]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a sheet in LaTeX.

    Args:
        specification: for the head of the `tabular`.
        head: with the `&` inside it, if it is of two.
        cells: as the head.
        width: in characters, about.
    """

    specification: str
    head: str
    cells: tuple[str, ...]
    width: int


def render_latex(report: Report) -> str:
    """A `table` float for the headline table, for each sheet of the comparison and of the published rows, and for each
    other table.

    Numbers are aligned at their decimal points; what is too wide for the text of an article goes on below, with the
    arms again in front. Footnotes stand below their table, those of a section below its last. Names are escaped: none
    can become a command. Input is UTF-8; a comment in the first lines says what the document must load.
    """
    prefix = f"tab:{_slug(report.table.name)}"
    floats = [_accuracy(report.table, f"{prefix}-accuracy")]
    for section in (*sections(report.comparison), *([report.published] if report.published else [])):
        floats += _floats(section, f"{prefix}-{section.name}")
    floats += [_accuracy(table, f"{prefix}-accuracy-{table.method}") for table in report.others]
    body = "\n".join(line for one in floats for line in ("", *_lines(one)))
    return "\n".join((*_comment(body), body)) + "\n"


def _comment(body: str) -> Iterator[str]:
    yield r"% Needs \usepackage{booktabs} in the preamble. Change a table where it is made, not here."
    if any(char > _LAST_OF_PDFLATEX for char in body):
        yield "% Some names hold letters that pdfLaTeX lacks: use LuaLaTeX or XeLaTeX, and a font that has them."


def _accuracy(table: Table, label: str) -> _Float:
    bold = frozenset(_best(table))
    said = " In bold: the highest mean of its column among the numbers without a mark; no test stands behind it."
    return _Float(
        label=label,
        caption=f"{_escape(table.title)}.{said * bool(bold)}",
        sheet=Sheet(
            title="",
            heads=(ARM, *column_heads(table)),
            rows=tuple(
                (arm_in_words(row), *(entry_in_words(entry) for entry in (*row.entries, row.average)))
                for row in table.rows
            ),
        ),
        bold=bold,
        notes=tuple(map(_note, footnotes(table))),
    )


def _best(table: Table) -> Iterator[tuple[int, int]]:
    """Where the highest printed means are; nowhere if there is but one arm."""
    rows = [(*row.entries, row.average) for row in table.rows]
    for j, column in enumerate(zip(*rows, strict=True), start=1):
        complete = {i: float(percent(entry.mean)) for i, entry in enumerate(column) if _is_complete(entry)}
        if len(rows) > 1 and complete:
            yield from ((i, j) for i, mean in complete.items() if mean == max(complete.values()))


def _is_complete(entry: Entry) -> bool:
    return math.isfinite(entry.mean) and not entry.incomplete


def _floats(section: Section, label: str) -> list[_Float]:
    """One a sheet; the footnotes below the last."""
    last = f"{label}-{len(section.sheets)}"
    floats = [
        _Float(
            label=f"{label}-{i}",
            caption=". ".join(_escape(title) for title in (section.title, sheet.title) if title) + ".",
            sheet=sheet,
            bold=frozenset(),
            notes=(rf"Footnotes stand below Table~\ref{{{last}}}.",),
        )
        for i, sheet in enumerate(section.sheets, start=1)
    ]
    return [*floats[:-1], replace(floats[-1], notes=tuple(map(_note, section.notes)))]


def _lines(one: _Float) -> Iterator[str]:
    yield r"\begin{table}[tbp]"
    yield r"  \centering"
    yield rf"  \caption{{{one.caption}}}"
    yield rf"  \label{{{one.label}}}"
    yield r"  \smallskip\footnotesize"  # most classes leave no room below a caption
    arms, *columns = (_column(one, i) for i in range(len(one.sheet.heads)))
    for block in _blocks(columns, WIDTH - arms.width):
        yield from _tabular([arms, *block])
        yield r"  \par\medskip"
    yield r"  \begin{minipage}{\linewidth}"
    yield r"    \footnotesize\raggedright"
    yield from (rf"    {note}\par" for note in one.notes)
    yield r"  \end{minipage}"
    yield r"\end{table}"


def _tabular(columns: Sequence[_Column]) -> Iterator[str]:
    yield rf"  \begin{{tabular}}{{@{{}}{''.join(column.specification for column in columns)}@{{}}}}"
    yield r"    \toprule"
    yield _row(column.head for column in columns)
    yield r"    \midrule"
    yield from map(_row, zip(*(column.cells for column in columns), strict=True))
    yield r"    \bottomrule"
    yield r"  \end{tabular}"


def _row(cells: Iterable[str]) -> str:
    return rf"    {' & '.join(cells)} \\"


def _blocks(columns: Sequence[_Column], room: int) -> Iterator[list[_Column]]:
    """The columns in runs that fit into `room` characters; one wider than that stands alone."""
    block: list[_Column] = []
    for column in columns:
        if block and sum(_GAP + one.width for one in (*block, column)) > room:
            yield block
            block = []
        block.append(column)
    yield block


def _column(one: _Float, i: int) -> _Column:
    words = [row[i] for row in one.sheet.rows]
    head = _escape(one.sheet.heads[i])
    width = max(map(len, (one.sheet.heads[i], *words)))
    if i == 0:
        return _arms(words, head, width)
    numbers = [_NUMBER.fullmatch(word) for word in words if word != ABSENT]
    forms = {(len(number[3]), number[4]) for number in numbers if number}
    if not forms or None in numbers:
        return _Column("l", head, tuple(map(_escape, words)), width)
    halves = [_halves(word, bold=(row, i) in one.bold) for row, word in enumerate(words)]
    if len(forms) == 1 and not forms.pop()[1]:  # equally many decimals and nothing behind them
        return _Column("r", head, tuple("".join(half) for half in halves), width)
    cells = tuple(" & ".join(half) if len(half) == 2 else _over_both(half[0]) for half in halves)
    return _Column("r@{}l", _over_both(head), cells, width)


def _arms(words: Sequence[str], head: str, width: int) -> _Column:
    # A cell that begins with one of these would be taken for an argument of the line end before it.
    cells = ["{}" * word.lstrip().startswith(("[", "*")) + _escape(word) for word in words]
    if width <= _ARM_WIDTH:
        return _Column("l", head, tuple(cells), width)
    return _Column(r"p{0.36\linewidth}", head, tuple(rf"\raggedright {cell}" for cell in cells), _ARM_WIDTH)


def _halves(word: str, *, bold: bool) -> tuple[str, ...]:
    """A number before its decimal point, and from there on with whatever follows it; a dash as it is."""
    number = _NUMBER.fullmatch(word)
    if number is None:
        return (_escape(word),)
    sign, whole, fraction, rest = number.groups()
    left, right = f"${sign}$" * bool(sign) + whole, fraction
    if bold:
        left, right = (rf"\textbf{{{part}}}" if part else "" for part in (left, right))
    rest = _MINUS.sub("\N{MINUS SIGN}", rest.replace(" ", "\N{NO-BREAK SPACE}"))
    return left, right + _escape(rest)


def _over_both(text: str) -> str:
    return rf"\multicolumn{{2}}{{c}}{{{text}}}"


def _note(note: Footnote) -> str:
    listed = list(map(_escape, note.items[:LISTED]))
    if len(note.items) > LISTED:
        listed.append(f"and {len(note.items) - LISTED} more, which the other formats list")
    return rf"\textbf{{{_escape(note.heading)}:}} {_escape(note.sentence)}" + "".join(
        rf" $\bullet$~{item}" for item in listed
    )


def _escape(text: str) -> str:
    """Words that LaTeX prints as they are; what has no glyph as a question mark."""
    pieces = _WITHIN_LIGATURE.split(_SPACE.sub(" ", text).strip(" "))
    return "{}".join("".join(map(_escape_character, piece)) for piece in pieces)


def _escape_character(char: str) -> str:
    return _SPECIAL.get(char, char if char.isprintable() else "?")


def _slug(name: str) -> str:
    """Letters, digits and hyphens alone, as a label's name must be."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "sweep"
