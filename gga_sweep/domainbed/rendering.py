"""DomainBed's tables as its `collect_results` prints them, in text and LaTeX, with notes below; and as JSON and CSV.

Where nothing lacks and every name is DomainBed's, the tables agree with its to the character.
"""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from gga_sweep.domainbed.model_selection import METHODS
from gga_sweep.domainbed.notes import NAME_WIDTH, Note, notes
from gga_sweep.domainbed.results import Results
from gga_sweep.domainbed.tables import Block, DomainBedEntry, DomainBedTable, DomainBedTables, build_tables
from gga_sweep.errors import Fault, InputError

NOTE_WIDTH = 100
LISTED = 10  # a note in text lists so many items; the other formats list all
_AVERAGES_WIDTH = NAME_WIDTH + 5
_TEX = str.maketrans(
    {character: f"\\{character}" for character in "_&#$%{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


FORMATS = ("text", "latex", "csv", "json")


def check_format(report_format: str) -> None:
    """Refuse an unknown format.

    Raises:
        InputError: naming those that DomainBed's results can be told in.
    """
    if report_format not in FORMATS:
        raise InputError([Fault("--format", "must be a format for DomainBed's results", report_format, FORMATS)])


def render(report_format: str, results: Results) -> str:
    """The results in one of `FORMATS`."""
    if report_format == "csv":
        return render_csv(results)
    if report_format == "json":
        return render_json(results)
    return render_tables(results, latex=report_format == "latex")


def render_tables(results: Results, latex: bool = False) -> str:
    """All tables of all methods and the notes, as text or as a LaTeX document; ends with a newline."""
    tables = build_tables(results)
    lines = _latex(results, tables) if latex else _text(results, tables)
    return "\n".join(lines) + "\n"


def render_json(results: Results) -> str:
    """All numbers in full, accuracies in percent, what is absent or NaN as null; ends with a newline."""
    tables = build_tables(results)
    read = {
        "folder": str(results.folder),
        "records": results.records,
        "runs": len(results.runs),
        "methods": [
            {
                "method": name,
                "label": method.label,
                "tables": [
                    _table_to_json(block, table)
                    for block in tables.blocks
                    if block.method == name
                    for table in block.tables
                ],
                "chosen": [
                    {
                        "dataset": cell.dataset,
                        "algorithm": cell.algorithm,
                        "test_domain": cell.test_domain,
                        "trial_seed": cell.trial_seed,
                        "hparams_seed": choice.draw,
                        "step": choice.best.step,
                        "validation_accuracy": _number(100 * choice.best.validation),
                        "test_accuracy": _number(100 * choice.best.test),
                    }
                    for cell, choice in tables.choices[name].items()
                ],
            }
            for name, method in METHODS.items()
        ],
        "notes": [{"heading": n.heading, "sentence": n.sentence, "items": [*n.items]} for n in notes(results, tables)],
    }
    return json.dumps(read, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def render_csv(results: Results) -> str:
    """One line an entry: percent in full, empty where absent, the dataset empty in the averages."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("method", "dataset", "algorithm", "column", "mean", "standard_error", "n", "incomplete"))
    for block in build_tables(results).blocks:
        for table in block.tables:
            for algorithm, row in table.rows.items():
                for column, entry in zip((*table.columns, "Avg"), row, strict=True):
                    numbers = ("" if number is None else number for number in (entry.mean, entry.error))
                    writer.writerow(
                        (block.method, table.dataset or "", algorithm, column, *numbers, entry.n, entry.incomplete)
                    )
    return stream.getvalue()


def _table_to_json(block: Block, table: DomainBedTable) -> dict[str, object]:
    return {
        "dataset": table.dataset,
        "known_to_domainbed": not block.foreign,
        "columns": [*table.columns, "Avg"],
        "rows": [
            {
                "algorithm": algorithm,
                "entries": [
                    {"mean": _number(e.mean), "standard_error": _number(e.error), "n": e.n, "incomplete": e.incomplete}
                    for e in row
                ],
            }
            for algorithm, row in table.rows.items()
        ],
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _text(results: Results, tables: DomainBedTables) -> Iterator[str]:
    yield f"Total records: {results.records}"
    for block in tables.blocks:
        strange = " (unknown to DomainBed)" if block.foreign else ""
        for table in block.tables:
            name = "Averages" if table.dataset is None else f"Dataset: {table.dataset}"
            width = _width(table)
            yield ""
            yield f"-------- {name}{strange}, model selection method: {METHODS[block.method].label}"
            for words in (("Algorithm", *table.columns, "Avg"), *_rows(table, " +/- ", " *")):
                yield "  ".join(word.ljust(width)[:width] for word in words) + " "
    yield from ("", "Notes")
    for note in notes(results, tables):
        yield from textwrap.wrap(f"{note.heading}: {note.sentence}", NOTE_WIDTH, break_long_words=False)
        for item in _first(note.items):
            yield from textwrap.wrap(
                f"- {item}", NOTE_WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False
            )


def _first(items: Sequence[str]) -> Iterator[str]:
    yield from items[:LISTED]
    if len(items) > LISTED:
        yield f"and {len(items) - LISTED} more, which the other formats list"


def _latex(results: Results, tables: DomainBedTables) -> Iterator[str]:
    yield from (r"\documentclass{article}", r"\usepackage{booktabs}", r"\usepackage{adjustbox}", r"\begin{document}")
    yield r"\section{Full DomainBed results}"
    yield f"% Total records: {results.records}"
    methods = None
    for block in tables.blocks:
        if block.method != methods:
            methods = block.method
            yield from ("", rf"\subsection{{Model selection: {METHODS[block.method].label}}}")
        for table in block.tables:
            yield from _latex_of(table, " (unknown to DomainBed)" if block.foreign else "")
    yield from _latex_of_notes(notes(results, tables))
    yield r"\end{document}"


def _latex_of(table: DomainBedTable, strange: str) -> Iterator[str]:
    width = _width(table)
    title = "Averages" if table.dataset is None else table.dataset.translate(_TEX)
    yield from ("", rf"\subsubsection{{{title}{strange}}}", "", r"\begin{center}")
    yield r"\adjustbox{max width=\textwidth}{%"
    yield rf"\begin{{tabular}}{{l{'c' * (len(table.columns) + 1)}}}"
    yield r"\toprule"
    heads = [rf"\textbf{{{word.translate(_TEX)}}}" for word in ("Algorithm", *table.columns, "Avg")]
    rows = [(name.translate(_TEX), *numbers) for name, *numbers in _rows(table, r" $\pm$ ", "$^{*}$")]
    for i, words in enumerate((heads, *rows)):
        yield " & ".join(word.ljust(width) for word in words) + r" \\"
        if i == 0:
            yield r"\midrule"
    yield from (r"\bottomrule", r"\end{tabular}}", r"\end{center}")


def _latex_of_notes(said: Iterable[Note]) -> Iterator[str]:
    yield from ("", r"\subsection{Notes}")
    for note in said:
        yield from ("", rf"\paragraph{{{note.heading.translate(_TEX)}}} {note.sentence.translate(_TEX)}")
        if note.items:
            yield r"\begin{itemize}"
            for item in note.items:
                yield rf"\item {{}}{item.translate(_TEX)}"
            yield r"\end{itemize}"


def _width(table: DomainBedTable) -> int:
    return _AVERAGES_WIDTH if table.dataset is None else NAME_WIDTH


def _rows(table: DomainBedTable, plus_minus: str, mark: str) -> list[tuple[str, ...]]:
    return [(algorithm, *(_words(entry, plus_minus, mark) for entry in row)) for algorithm, row in table.rows.items()]


def _words(entry: DomainBedEntry, plus_minus: str, mark: str) -> str:
    if entry.mean is None:
        return "X"
    error = "" if entry.error is None else f"{plus_minus}{entry.error:.1f}"
    return f"{entry.mean:.1f}{error}{mark * entry.incomplete}"
