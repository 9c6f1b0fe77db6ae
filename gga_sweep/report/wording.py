"""Numbers, cells and runs in words, the same in every format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gga_sweep.records import Cell, RunRecords, RunStatus
from gga_sweep.selection import Entry, IncompleteCell, Row, SeedEstimate, Table, domain_label
from gga_sweep.selection.view import status_in_words
from gga_sweep.spec import PlannedRun

ABSENT = "\N{EN DASH}"
INCOMPLETE_MARK = "*"
AVERAGE = "Average"
WORST = "Worst"
_LONGEST_LABEL = 60  # characters of the names of test domains
_MOST_LISTED = 24  # draws
ARM = "Arm"
DIFFERENCE = "Difference [95\N{NO-BREAK SPACE}%]"


def percent(share: float) -> str:
    """0.8471 -> "84.7"; NaN -> a dash."""
    return f"{100 * share:.1f}" if math.isfinite(share) else ABSENT


def points(difference: float, *, signed: bool = True) -> str:
    """A difference of scores in points: 0.0072 -> "+0.72", unsigned "0.72"; NaN -> a dash."""
    return f"{100 * difference:{'+' if signed else ''}z.2f}" if math.isfinite(difference) else ABSENT


def entry_in_words(entry: Entry) -> str:
    """ "84.7 ± 1.2"; "84.7 ± 1.2 (2/3)*" where trial seeds are missing; "84.7*" for a single one, or without a draw."""
    text = percent(entry.mean)
    if math.isfinite(entry.standard_error):
        text += f" ± {percent(entry.standard_error)}"
    if entry.n < entry.expected:
        text += f" ({entry.n}/{entry.expected})"
    return text + INCOMPLETE_MARK * entry.incomplete


def difference_in_words(difference: SeedEstimate) -> str:
    """ "+0.72 [0.10, 1.34]", the interval where there is one."""
    low, high = (points(end, signed=False) for end in (difference.low, difference.high))
    return points(difference.mean) + f" [{low}, {high}]" * math.isfinite(difference.low)


def p_in_words(p: float) -> str:
    """ "0.031"; "<0.001"; NaN -> a dash."""
    if math.isnan(p):
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def gain_in_words(mean: SeedEstimate) -> str:
    """ "+0.0041 [0.0031, 0.0052]", the interval where there is one."""
    if math.isnan(mean.mean):
        return ABSENT
    return f"{mean.mean:+.2g}" + f" [{mean.low:.2g}, {mean.high:.2g}]" * math.isfinite(mean.low)


def time_in_words(time: float) -> str:
    """In any unit: "1,234", "34.5", "8.03"; NaN -> a dash."""
    if math.isnan(time):
        return ABSENT
    decimals = 0 if time >= 100 else 1 if time >= 10 else 2
    return f"{time:,.{decimals}f}"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of device time: its name, and how many seconds it has."""

    name: str
    seconds: float


_UNITS = (Unit("device-hours", 3600.0), Unit("device-minutes", 60.0), Unit("device-seconds", 1.0))


def unit_for(seconds: Iterable[float]) -> Unit:
    """The largest unit that the longest has two of, else seconds; NaN is ignored."""
    longest = max((one for one in seconds if math.isfinite(one)), default=0.0)
    return next((unit for unit in _UNITS if longest >= 2 * unit.seconds), _UNITS[-1])


def device_time(seconds: float) -> str:
    """ "86 device-seconds", "4.03 device-minutes", "1,234 device-hours"."""
    unit = unit_for([seconds])
    number = seconds / unit.seconds
    return f"{number:,.0f} {unit.name}" if number >= 100 else f"{number:.3g} {unit.name}"


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


def arm_in_words(row: Row) -> str:
    return f"{row.arm} (searched)" if row.searched else row.arm


def domains_in_words(test_domains: tuple[str, ...]) -> str:
    """ "art+sketch"; of many that would fill a page "art+...+sketch (65 domains)"."""
    label = domain_label(test_domains)
    if len(test_domains) < 3 or len(label) <= _LONGEST_LABEL:
        return label
    return f"{test_domains[0][:20]}+...+{test_domains[-1][:20]} ({len(test_domains)} domains)"


def column_heads(table: Table) -> tuple[str, ...]:
    """Test domains, then the average over them. Heads that would be equal are numbered."""
    heads = [domains_in_words(column) for column in table.columns]
    numbers = (f" #{heads[:i].count(head) + 1}" if heads.count(head) > 1 else "" for i, head in enumerate(heads))
    return (*map(str.__add__, heads, numbers), AVERAGE)


def cell_in_words(cell: Cell) -> str:
    """`ERM + GGA · test 75 · seed 2`."""
    return f"{cell.arm} · test {domains_in_words(cell.test_domains)} · seed {cell.trial_seed}"


def run_name(run: PlannedRun | RunRecords) -> str:
    """`ERM + GGA · test 75 · seed 2 · draw 1`: the name of a run wherever people read it."""
    draws = f" · draw{'s' * (len(run.draws) > 1)} {_listed(run.draws)}" * bool(run.draws)
    return f"{cell_in_words(run.cell)}{draws}"


def incomplete_in_words(cell: IncompleteCell) -> str:
    """ "ERM · test 75 · seed 2: missing (draw 3); failed (draws 0, 1); nothing to select"."""
    reasons = [f"{reason}{draws_in_words(draws)}" for reason, draws in cell.reasons.items()]
    return f"{cell_in_words(cell.cell)}: {'; '.join(reasons if cell.selected else [*reasons, 'nothing to select'])}"


def draws_in_words(draws: Sequence[int]) -> str:
    """ " (draws 0, 1)"; empty without one."""
    if not draws:
        return ""
    return f" (draw{'s' * (len(draws) > 1)} {_listed(draws)})"


def _listed(draws: Sequence[int]) -> str:
    """ "0, 1"; of many "0, 1, 2, ..., 999"."""
    shown = [*map(str, draws)]
    return ", ".join(shown if len(shown) <= _MOST_LISTED else [*shown[:3], "...", shown[-1]])


def count(n: int, noun: str) -> str:
    """ "1 cell", "2 cells", "1,200 cells", "0 prefixes"."""
    plural = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{n:,} {noun}{plural * (n != 1)}"


def counts_in_words(counts: Mapping[RunStatus, int], statuses: Iterable[RunStatus] = RunStatus) -> str:
    """`22 queued, 2 running, 12 done`."""
    shown = [f"{counts[status]} {status_in_words(status)}" for status in statuses if counts.get(status)]
    return ", ".join(shown) or "no runs"
