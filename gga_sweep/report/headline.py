"""The answer of a sweep in words: its verdicts, and the scores of its selected runs, with their notes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from gga_sweep.records import RunStatus
from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.verdict import answer_in_words, verdicts_in_words
from gga_sweep.report.wording import (
    ABSENT,
    ARM,
    AVERAGE,
    DIFFERENCE,
    INCOMPLETE_MARK,
    WORST,
    arm_in_words,
    column_heads,
    count,
    counts_in_words,
    difference_in_words,
    entry_in_words,
    incomplete_in_words,
    percent,
)
from gga_sweep.selection import DEFAULT_METHOD, METHODS, Comparison, Contrast, Entry, SweepView, Table, Verdict

_MOST_VERDICTS = 4


def score_section(table: Table, comparison: Comparison | None = None) -> Section:
    """The arms by test domains. Its name ends with the selection method unless that is the default.

    Args:
        table: of the sweep.
        comparison: of the table's arms; adds the verdicts, and the differences as a column. None if the arms were
            compared by another table.
    """
    peeks = METHODS[table.method].peeks
    name = table.metric.replace("_", "-")
    contrasts = () if comparison is None else comparison.selected
    several = len(table.columns) > 1
    heads, rows = (ARM, *column_heads(table), *[WORST] * several), score_rows(table, worst=several)
    if contrasts:
        differences = differences_by_arm(contrasts)
        heads = (*heads, DIFFERENCE)
        rows = tuple((*row, differences.get(of.arm, ABSENT)) for row, of in zip(rows, table.rows, strict=True))
    return Section(
        name=name if table.method == DEFAULT_METHOD else f"{name}-{table.method}",
        title=table.title,
        sheets=(Sheet("", heads, rows, frozenset(_best(table))),),
        notes=tuple(_notes(table, contrasts)),
        verdict=() if comparison is None else _verdict(comparison.verdicts),
        headline=True,
        warning="" if peeks is None else f"{peeks[0].upper()}{peeks[1:]}.",
    )


def progress_in_words(view: SweepView, table: Table) -> str:
    """What is compared, and how far: "2 arms on 3 test domains of RotatedDigits, 3 trial seeds; all 36 runs done"."""
    missing = sum(len(cell.reasons.get("missing", ())) for cell in table.incomplete)
    statuses = Counter(run.status for run in view.trained_runs)
    states = [counts_in_words(statuses)] * bool(statuses) + [f"{missing:,} missing"] * bool(missing)
    runs = f"runs: {', '.join(states) or 'none yet'}"
    if set(statuses) == {RunStatus.DONE} and not missing:
        runs = f"all {count(statuses.total(), 'run')} done"
    return (
        f"{count(len(view.trained_arms), 'arm')} on {count(len(view.test_domains), 'test domain')} of {view.dataset}, "
        f"{count(len(view.trial_seeds), 'trial seed')}; {runs}"
    )


def score_rows(table: Table, *, by_domain: bool = True, worst: bool = False) -> tuple[tuple[str, ...], ...]:
    """Each arm with its score on each test domain (if `by_domain`), on average, and (if `worst`) on the worst."""
    return tuple(
        (arm_in_words(row), *map(entry_in_words, (*row.entries * by_domain, row.average, *[row.worst] * worst)))
        for row in table.rows
    )


def _verdict(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """A sentence on each of a few arms; of many the answer in short, since a table has the numbers of each."""
    return (verdicts_in_words if len(verdicts) <= _MOST_VERDICTS else answer_in_words)(verdicts)


def differences_by_arm(contrasts: Sequence[Contrast]) -> dict[str, str]:
    """By arm that has a baseline, "-1.61 [-6.18, 2.96]"."""
    return {
        one.arm: difference_in_words(one.difference) + INCOMPLETE_MARK * (one.incomplete and one.difference.n > 0)
        for one in contrasts
    }


def uncertainty_in_words(table: Table) -> str:
    """The meaning of the ±."""
    n = len(table.trial_seeds)
    if n == 1:
        return "one trial seed, so without standard error"
    return f"mean ± standard error over {n} trial seeds (population, ddof 0)"


def protocol_note(table: Table) -> Footnote:
    if not table.deviations:
        return Footnote("Protocol", f"{table.protocol}, without deviations.")
    return Footnote("Protocol", f"{table.protocol}, with these deviations:", table.deviations)


def _best(table: Table) -> Iterator[tuple[int, int]]:
    """The positions of the highest printed means; empty with a single arm."""
    rows = [(*row.entries, row.average, *[row.worst] * (len(table.columns) > 1)) for row in table.rows]
    for j, column in enumerate(zip(*rows, strict=True), start=1):
        complete = {i: float(percent(entry.mean)) for i, entry in enumerate(column) if _is_complete(entry)}
        if len(rows) > 1 and complete:
            yield from ((i, j) for i, mean in complete.items() if mean == max(complete.values()))


def _is_complete(entry: Entry) -> bool:
    return math.isfinite(entry.mean) and not entry.incomplete


def _notes(table: Table, contrasts: Sequence[Contrast]) -> Iterator[Footnote]:
    """Most important first."""
    yield Footnote(
        "Numbers",
        f"{table.metric_label} in percent on the training split of the test domain, of the selected runs at their "
        f"selected steps; {uncertainty_in_words(table)}. {AVERAGE}: first over the test domains within a trial seed, "
        "if it has them all, then over trial seeds."
        + f" {WORST}: of each trial seed the lowest test domain, then over trial seeds."
        * (len(table.columns) > 1),
    )
    if contrasts:
        several = len({one.baseline for one in contrasts}) > 1
        yield Footnote(
            "Difference",
            f"average minus that of {'its baseline' if several else contrasts[0].baseline}, in points, with its 95 % "
            "interval over trial seeds (t), not adjusted for the number of arms; the verdicts are.",
            tuple(f"{one.arm} against {one.baseline}" for one in contrasts) if several else (),
        )
    yield Footnote("Selection", f"{table.method_label}: {table.method_rule}.{_selected_from(table)}")
    if (peeks := METHODS[table.method].peeks) is not None:
        yield Footnote("It peeks", f"{peeks}.")
    if table.seed_use:
        yield Footnote("Trial seeds", table.seed_use)
    yield protocol_note(table)
    yield from _notes_on_runs(table)
    for note in table.notes:
        yield Footnote("Note", note)


def _notes_on_runs(table: Table) -> Iterator[Footnote]:
    if table.incomplete:
        items = tuple(map(incomplete_in_words, table.incomplete))
        yield Footnote(f"Incomplete {INCOMPLETE_MARK}", _what_is_marked(table), items)
    if diverged := [(row.arm, n) for row in table.rows if (n := row.runs.get(RunStatus.DIVERGED, 0))]:
        fate = "Left out of selection." if table.exclude_diverged else "Their records before that can be selected."
        yield Footnote("Diverged", f"{_list(diverged, 'run')}. {fate}")
    if ties := _ties(table):
        yield Footnote("Ties", ties)
    draws = [(row.arm, row.draws) for row in table.rows if row.draws]
    if len({n for _, n in draws}) > 1:  # with more draws the best is better
        yield Footnote("Draws", f"cells differ in the number of draws to choose from: {_list(draws, 'draw')}.")
    if any(row.searched for row in table.rows):
        yield Footnote(
            "Searched", "draws of these arms are from a user's own searcher, whose budget may differ from the plan's."
        )


def _selected_from(table: Table) -> str:
    if table.select_from == "any":
        return ""
    return f" Only steps after every annealing window can be selected: from step {table.first_step} on, in every arm."


def _what_is_marked(table: Table) -> str:
    n, cells = len(table.incomplete), len(table.rows) * len(table.columns) * len(table.trial_seeds)
    seeds = len(table.trial_seeds)
    return (
        f"{n} of {count(cells, 'cell')} {'is' if n == 1 else 'are'} incomplete. Numbers that depend on them are "
        f"marked; (n/{seeds}) means that trial seeds are missing."
    )


def _ties(table: Table) -> str:
    steps = [(row.arm, row.tied_steps) for row in table.rows if row.tied_steps]
    draws = [(row.arm, row.tied_draws) for row in table.rows if row.tied_draws]
    parts = []
    if steps:
        parts.append(f"Several steps were best and the lowest was selected ({_list(steps, 'selected run')}).")
    if draws:
        parts.append(f"Several draws were best and the highest was selected ({_list(draws, 'cell')}).")
    return " ".join(parts)


def _list(counts: Sequence[tuple[str, int]], noun: str) -> str:
    return "; ".join(f"{arm}: {count(n, noun)}" for arm, n in counts)
