"""A report as LaTeX floats for booktabs, to be included in a paper."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.make_report import Report
from gga_sweep.report.wording import ABSENT

LISTED = 8  # a float cannot break over pages, so it lists so many items of a footnote; the other formats list all
WIDTH = 85  # so many characters of \footnotesize stand side by side in the text of an ordinary article
_ARM_WIDTH = 34  # a longer arm wraps
_HEAD_WIDTH = 24  # a longer head is broken where its cells are not as long
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
    """A `table` float for each table of the report.

    Numbers are aligned at their decimal points; a table too wide for the text of an article is continued below,
    with the arms repeated. Notes are below the last table of their section. Names are escaped: none can become a
    command. Input is UTF-8; a comment in the first lines says what the document must load.
    """
    return sections_to_latex(report.sections, report.table.name)


def sections_to_latex(sections: Iterable[Section], name: str) -> str:
    """The same for any sections; labels begin with the name."""
    prefix = f"tab:{_slug(name)}"
    body = "\n".join(line for section in sections for line in _section(section, f"{prefix}-{section.name}"))
    return "\n".join((*_comment(body), body)) + "\n"


def _comment(body: str) -> Iterator[str]:
    yield r"% Needs \usepackage{booktabs} in the preamble. Change a table where it is made, not here."
    if any(char > _LAST_OF_PDFLATEX for char in body):
        yield "% Some names contain letters that pdfLaTeX lacks: use LuaLaTeX or XeLaTeX, and a font that has them."


def _section(section: Section, label: str) -> Iterator[str]:
    labels = [label if section.headline else f"{label}-{i}" for i in range(1, len(section.sheets) + 1)]
    for sheet, own in zip(section.sheets, labels, strict=True):
        caption = ". ".join(escape(title) for title in (section.title, sheet.title) if title) + "."
        if sheet.bold:
            caption += (
                " In bold: the highest mean of its column among the numbers without a mark, not by a statistical test."
            )
        notes = [rf"Notes are below Table~\ref{{{labels[-1]}}}."]
        yield ""
        if own == labels[-1]:
            notes = [*map(_verdict, section.verdict), *map(_note, section.notes)]
        yield from _float(sheet, own, caption, notes)


def _float(sheet: Sheet, label: str, caption: str, notes: Iterable[str]) -> Iterator[str]:
    yield r"\begin{table}[tbp]"
    yield r"  \centering"
    yield rf"  \caption{{{caption}}}"
    yield rf"  \label{{{label}}}"
    yield r"  \smallskip\footnotesize"  # most classes leave no room below a caption
    arms, *columns = (_column(sheet, i) for i in range(len(sheet.heads)))
    for block in _blocks(columns, WIDTH - arms.width):
        yield from _tabular([arms, *block])
        yield r"  \par\medskip"
    yield r"  \begin{minipage}{\linewidth}"
    yield r"    \footnotesize\raggedright"
    yield from (rf"    {note}\par" for note in notes)
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


def _column(sheet: Sheet, i: int) -> _Column:
    words = [row[i] for row in sheet.rows]
    if i == 0:
        return _arms(words, sheet.heads[i])
    head, width = _head(sheet.heads[i], max(map(len, words), default=0))
    numbers = [_NUMBER.fullmatch(word) for word in words if word != ABSENT]
    forms = {(len(number[3]), number[4]) for number in numbers if number}
    if not forms or None in numbers:
        return _Column("l", head, tuple(map(escape, words)), width)
    halves = [_halves(word, bold=(row, i) in sheet.bold) for row, word in enumerate(words)]
    if len(forms) == 1 and not forms.pop()[1]:  # equally many decimals and nothing behind them
        return _Column("r", head, tuple("".join(half) for half in halves), width)
    cells = tuple(" & ".join(half) if len(half) == 2 else _over_both(half[0]) for half in halves)
    return _Column("r@{}l", _over_both(head), cells, width)


def _head(words: str, cells: int) -> tuple[str, int]:
    """A head, in several lines where it is long and its cells are not, and the width of the column."""
    if len(words) <= max(cells, _HEAD_WIDTH):
        return escape(words), max(len(words), cells)
    lines = textwrap.wrap(words, max(cells, *map(len, words.split(" "))))
    stacked = r" \\ ".join(map(escape, lines))
    return rf"\shortstack{{{stacked}}}", max(cells, *map(len, lines))


def _arms(words: Sequence[str], head: str) -> _Column:
    # A cell that begins with one of these would be taken for an argument of the line end before it.
    cells = ["{}" * word.lstrip().startswith(("[", "*")) + escape(word) for word in words]
    width = max(map(len, (head, *words)))
    if width <= _ARM_WIDTH:
        return _Column("l", escape(head), tuple(cells), width)
    return _Column(r"p{0.36\linewidth}", escape(head), tuple(rf"\raggedright {cell}" for cell in cells), _ARM_WIDTH)


def _halves(word: str, *, bold: bool) -> tuple[str, ...]:
    """A number before its decimal point, and from there on with whatever follows it; a dash as it is."""
    number = _NUMBER.fullmatch(word)
    if number is None:
        return (escape(word),)
    sign, whole, fraction, rest = number.groups()
    left, right = f"${sign}$" * bool(sign) + whole, fraction
    if bold:
        left, right = (rf"\textbf{{{part}}}" if part else "" for part in (left, right))
    rest = _MINUS.sub("\N{MINUS SIGN}", rest.replace(" ", "\N{NO-BREAK SPACE}"))
    return left, right + escape(rest)


def _over_both(text: str) -> str:
    return rf"\multicolumn{{2}}{{c}}{{{text}}}"


def _verdict(sentence: str) -> str:
    return rf"\textbf{{{escape(sentence)}}}"


def _note(note: Footnote) -> str:
    listed = list(map(escape, note.items[:LISTED]))
    if len(note.items) > LISTED:
        listed.append(f"and {len(note.items) - LISTED} more, which the other formats list")
    return rf"\textbf{{{escape(note.heading)}:}} {escape(note.sentence)}" + "".join(
        rf" $\bullet$~{item}" for item in listed
    )


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; a question mark for what has no glyph."""
    pieces = _WITHIN_LIGATURE.split(_SPACE.sub(" ", text).strip(" "))
    return "{}".join("".join(map(_escape_character, piece)) for piece in pieces)


def _escape_character(char: str) -> str:
    return _SPECIAL.get(char, char if char.isprintable() else "?")


def _slug(name: str) -> str:
    """Letters, digits and hyphens alone, as a label's name must be."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "sweep"
