"""How a table is put into words: the same sentences in every format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gga_sweep.records import Cell, RunRecords, RunStatus
from gga_sweep.selection import METHODS, Entry, IncompleteCell, Row, Table, domain_label
from gga_sweep.selection.table import status_in_words
from gga_sweep.spec import PlannedRun

ABSENT = "\N{EN DASH}"
INCOMPLETE_MARK = "*"
AVERAGE = "Average"
ARM = "Arm"


@dataclass(frozen=True, slots=True)
class Footnote:
    """What must be said beside a table: a heading of a word or two, a sentence, and what it lists."""

    heading: str
    sentence: str
    items: tuple[str, ...] = ()


def percent(share: float) -> str:
    """0.8471 -> "84.7"; NaN -> a dash."""
    return f"{100 * share:.1f}" if math.isfinite(share) else ABSENT


def entry_in_words(entry: Entry) -> str:
    """ "84.7 ± 1.2"; "84.7 ± 1.2 (2/3)*" where trial seeds lack; "84.7*" where one is left, or a draw lacks."""
    text = percent(entry.mean)
    if math.isfinite(entry.standard_error):
        text += f" ± {percent(entry.standard_error)}"
    if entry.n < entry.expected:
        text += f" ({entry.n}/{entry.expected})"
    return text + INCOMPLETE_MARK * entry.incomplete


def arm_in_words(row: Row) -> str:
    return f"{row.arm} (searched)" if row.searched else row.arm


def column_heads(table: Table) -> tuple[str, ...]:
    """Test domains, then the average over them."""
    return (*(domain_label(column) for column in table.columns), AVERAGE)


def footnotes(table: Table) -> Iterator[Footnote]:
    """All that belongs beside the numbers, most important first."""
    yield Footnote("Numbers", _what_the_numbers_are(table))
    yield Footnote("Selection", f"{table.method_label}: {METHODS[table.method].rule}.{_selected_from(table)}")
    if (peeks := METHODS[table.method].peeks) is not None:
        yield Footnote("It peeks", f"{peeks}.")
    if table.seed_use:
        yield Footnote("Trial seeds", table.seed_use)
    yield protocol_note(table)
    if table.incomplete:
        yield Footnote(
            f"Incomplete {INCOMPLETE_MARK}",
            _what_is_marked(table),
            tuple(incomplete_in_words(cell) for cell in table.incomplete),
        )
    if diverged := [(row.arm, n) for row in table.rows if (n := row.runs.get(RunStatus.DIVERGED, 0))]:
        fate = (
            "Left out of selection." if table.exclude_diverged else "Their records before that take part in selection."
        )
        yield Footnote("Diverged", f"{_list(diverged, 'run')}. {fate}")
    if ties := _ties(table):
        yield Footnote("Ties", ties)
    if draws := _unequal_draws(table):
        yield Footnote("Draws", draws)
    if any(row.searched for row in table.rows):
        yield Footnote(
            "Searched", "draws of these arms came from a user's own searcher, whose budget may differ from the plan's."
        )
    for note in table.notes:
        yield Footnote("Note", note)


def _selected_from(table: Table) -> str:
    if table.select_from == "any":
        return ""
    return f" Only steps after every annealing window take part, from step {table.first_step} on, in every arm."


def protocol_note(table: Table) -> Footnote:
    if not table.deviations:
        return Footnote("Protocol", f"{table.protocol}, without deviations.")
    return Footnote("Protocol", f"{table.protocol}, with these deviations:", table.deviations)


def cell_in_words(cell: Cell) -> str:
    """ "ERM, test 75, trial seed 2"."""
    return f"{cell.arm}, test {domain_label(cell.test_domains)}, trial seed {cell.trial_seed}"


def run_in_words(run: RunRecords) -> str:
    """ "ERM, test 75, trial seed 2 (draw 3)"."""
    return cell_in_words(run.cell) + draws_in_words(run.draws)


def run_name(run: PlannedRun) -> str:
    """`ERM + GGA · test 75 · seed 0 · draw 1`."""
    draws = f"draw{'s' * (len(run.draws) > 1)} {', '.join(map(str, run.draws))}"
    return f"{run.cell.arm} · test {domain_label(run.cell.test_domains)} · seed {run.cell.trial_seed} · {draws}"


def incomplete_in_words(cell: IncompleteCell) -> str:
    """ "ERM, test 75, trial seed 2: missing (draw 3); failed (draws 0, 1); nothing to select"."""
    reasons = [f"{reason}{draws_in_words(draws)}" for reason, draws in cell.reasons.items()]
    return f"{cell_in_words(cell.cell)}: {'; '.join(reasons if cell.selected else [*reasons, 'nothing to select'])}"


def uncertainty_in_words(table: Table) -> str:
    """What stands behind the ±."""
    n = len(table.trial_seeds)
    if n == 1:
        return "one trial seed, so without standard error"
    return f"mean ± standard error over {n} trial seeds (population, ddof 0)"


def _what_the_numbers_are(table: Table) -> str:
    return (
        "accuracy in percent on the training split of the test domain, of the selected runs at their selected steps; "
        f"{uncertainty_in_words(table)}. {AVERAGE}: first over the test domains within a trial seed, if it has them "
        "all, then over trial seeds."
    )


def _what_is_marked(table: Table) -> str:
    n, cells = len(table.incomplete), len(table.rows) * len(table.columns) * len(table.trial_seeds)
    seeds = len(table.trial_seeds)
    return (
        f"{n} of {count(cells, 'cell')} {'lacks' if n == 1 else 'lack'} what the plan wants. Numbers that read from "
        f"them are marked; (n/{seeds}) stands where trial seeds are absent."
    )


def _ties(table: Table) -> str:
    steps = [(row.arm, row.tied_steps) for row in table.rows if row.tied_steps]
    draws = [(row.arm, row.tied_draws) for row in table.rows if row.tied_draws]
    parts = []
    if steps:
        parts.append(f"Several steps were best and the lowest was taken ({_list(steps, 'selected run')}).")
    if draws:
        parts.append(f"Several draws were best and the highest was taken ({_list(draws, 'cell')}).")
    return " ".join(parts)


def _unequal_draws(table: Table) -> str:
    """Said only where it matters: more draws to choose from select a better best."""
    draws = [(row.arm, row.draws) for row in table.rows if row.draws]
    if len({n for _, n in draws}) < 2:
        return ""
    return f"cells differ in what they could choose from: {_list(draws, 'draw')}."


def _list(counts: list[tuple[str, int]], noun: str) -> str:
    return "; ".join(f"{arm}: {count(n, noun)}" for arm, n in counts)


def count(n: int, noun: str) -> str:
    """ "1 cell", "2 cells"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def draws_in_words(draws: Sequence[int]) -> str:
    """ " (draws 0, 1)"; empty without one."""
    if not draws:
        return ""
    return f" (draw{'s' * (len(draws) > 1)} {', '.join(map(str, draws))})"


def duration_in_words(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`, `1 d 04 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def counts_in_words(counts: Mapping[RunStatus, int], statuses: Iterable[RunStatus] = RunStatus) -> str:
    """`22 queued, 2 running, 12 done`."""
    shown = [f"{counts[status]} {status_in_words(status)}" for status in statuses if counts.get(status)]
    return ", ".join(shown) or "no runs"
