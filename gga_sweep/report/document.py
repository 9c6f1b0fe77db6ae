"""The document model of a report, the same for every writer: sections of verdicts, tables, notes and plots."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Footnote:
    """A note beside a table: a heading of a word or two, a sentence, and a list."""

    heading: str
    sentence: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of text cells.

    Args:
        title: what it shows; empty if the title of its section says so.
        heads: of the columns.
        rows: cells, as many as heads; the first names the row.
        bold: (row, column) of the best numbers.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Section:
    """Tables of one subject with their notes and plots.

    Args:
        name: unique in its report, in letters and hyphens: part of ids and labels.
        title: what the tables show.
        sheets: the tables.
        notes: below the last table.
        plots: names in `plots.catalogue`; the HTML page alone shows them.
        verdict: what follows from the numbers, above the tables, a sentence each.
        headline: whether this is a table of the selected accuracies, which has a larger heading.
        warning: what must be seen before the numbers; the HTML page alone sets it apart from the notes.
    """

    name: str
    title: str
    sheets: tuple[Sheet, ...]
    notes: tuple[Footnote, ...] = ()
    plots: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    headline: bool = False
    warning: str = ""
