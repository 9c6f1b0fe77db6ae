"""DomainBed's tables in every format.

The text is that of its `collect_results`, with notes below. Where nothing is missing and every name is DomainBed's, its
tables agree with DomainBed's to the character. The other formats are written as our own reports are.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gga_sweep.domainbed.model_selection import METHODS
from gga_sweep.domainbed.notes import NAME_WIDTH, notes, settings_by_draw
from gga_sweep.domainbed.results import Results
from gga_sweep.domainbed.tables import Block, DomainBedEntry, DomainBedTable, DomainBedTables, build_tables
from gga_sweep.errors import Fault, InputError
from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.latex import sections_to_latex
from gga_sweep.report.long_table import to_csv, to_json
from gga_sweep.report.markdown import sections_to_markdown
from gga_sweep.report.wording import ABSENT

NOTE_WIDTH = 80
LISTED = 10  # a note in text lists so many items; the other formats list all
FORMATS = ("text", "markdown", "latex", "csv", "json")
_COLUMNS = (
    *("method", "dataset", "known_to_domainbed", "algorithm", "column"),
    *("mean", "standard_error", "n", "incomplete"),
)


def check_format(report_format: str) -> None:
    """Refuse an unknown format.

    Raises:
        InputError: with those there are for DomainBed's results.
    """
    if report_format not in FORMATS:
        raise InputError([Fault("--format", "must be a format for DomainBed's results", report_format, FORMATS)])


def render(report_format: str, results: Results) -> str:
    """All tables of all methods in one of `FORMATS`, with notes but in CSV; ends with a newline."""
    tables = build_tables(results)
    if report_format == "csv":
        return to_csv(_COLUMNS, _records(tables))
    below = notes(results, tables)
    if report_format == "text":
        return "\n".join(_text(results, tables, below)) + "\n"
    if report_format == "json":
        return to_json(_to_json(results, tables, below))
    sections = [_section(results, tables, below)]
    return sections_to_latex(sections, "domainbed") if report_format == "latex" else sections_to_markdown(sections)


def _text(results: Results, tables: DomainBedTables, below: Sequence[Footnote]) -> Iterator[str]:
    yield f"Total records: {results.records}"
    for block, table in _each(tables):
        name = "Averages" if table.dataset is None else f"Dataset: {table.dataset}"
        width = NAME_WIDTH if table.dataset else NAME_WIDTH + 5
        yield ""
        yield f"-------- {name}{_strange(block)}, model selection method: {METHODS[block.method].label}"
        for words in (("Algorithm", *table.columns, "Avg"), *_rows(table, " +/- ", " *", "X")):
            yield "  ".join(word.ljust(width)[:width] for word in words) + " "
    yield from ("", "Notes")
    for note in below:
        yield from textwrap.wrap(f"{note.heading}: {note.sentence}", NOTE_WIDTH, break_long_words=False)
        for item in _first(note.items):
            yield from textwrap.wrap(
                f"- {item}", NOTE_WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False
            )


def _first(items: Sequence[str]) -> Iterator[str]:
    yield from items[:LISTED]
    if len(items) > LISTED:
        yield f"and {len(items) - LISTED} more, which the other formats list"


def _section(results: Results, tables: DomainBedTables, below: Sequence[Footnote]) -> Section:
    sheets = tuple(
        Sheet(
            title=f"{table.dataset or 'Averages'}{_strange(block)}, {METHODS[block.method].label}",
            heads=("Algorithm", *table.columns, "Avg"),
            rows=_rows(table, " ± ", "*", ABSENT),
        )
        for block, table in _each(tables)
    )
    return Section("results", f"DomainBed's tables of {results.folder}", sheets, tuple(below))


def _to_json(results: Results, tables: DomainBedTables, below: Sequence[Footnote]) -> Mapping[str, Any]:
    """Accuracies in percent; `draws` are those that DomainBed did not number."""
    return {
        "folder": str(results.folder),
        "records_read": results.records,
        "runs_read": len(results.runs),
        "records": [*_records(tables)],
        "chosen": [
            {
                "method": method,
                "dataset": cell.dataset,
                "algorithm": cell.algorithm,
                "test_domain": cell.test_domain,
                "trial_seed": cell.trial_seed,
                "hparams_seed": choice.draw,
                "step": choice.best.step,
                "validation_accuracy": 100 * choice.best.validation,
                "test_accuracy": 100 * choice.best.test,
            }
            for method, choices in tables.choices.items()
            for cell, choice in choices.items()
        ],
        "draws": [
            {"dataset": dataset, "algorithm": algorithm, "hparams_seed": draw, "hparams": settings}
            for (dataset, algorithm), by_draw in settings_by_draw(results).items()
            for draw, settings in by_draw.items()
        ],
        "notes": below,
    }


def _records(tables: DomainBedTables) -> Iterator[dict[str, Any]]:
    """One an entry, in percent; the averages have no dataset."""
    for block, table in _each(tables):
        for algorithm, row in table.rows.items():
            for column, entry in zip((*table.columns, "Avg"), row, strict=True):
                yield {
                    "method": block.method,
                    "dataset": table.dataset,
                    "known_to_domainbed": not block.foreign,
                    "algorithm": algorithm,
                    "column": column,
                    "mean": entry.mean,
                    "standard_error": entry.error,
                    "n": entry.n,
                    "incomplete": entry.incomplete,
                }


def _each(tables: DomainBedTables) -> Iterator[tuple[Block, DomainBedTable]]:
    return ((block, table) for block in tables.blocks for table in block.tables)


def _strange(block: Block) -> str:
    return " (unknown to DomainBed)" * block.foreign


def _rows(table: DomainBedTable, plus_minus: str, mark: str, absent: str) -> tuple[tuple[str, ...], ...]:
    def words(entry: DomainBedEntry) -> str:
        if entry.mean is None:
            return absent
        error = "" if entry.error is None else f"{plus_minus}{entry.error:.1f}"
        return f"{entry.mean:.1f}{error}{mark * entry.incomplete}"

    return tuple((algorithm, *map(words, row)) for algorithm, row in table.rows.items())
