"""The cost of a plan on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gga_sweep.report.wording import ABSENT, count, device_time, time_in_words, unit_for
from gga_sweep.scheduling.price import Price

_HOUR = 3600.0
_SEARCHING = ("search", "diagnostics")


def price_picture(price: Price, at_once: int, notes: Sequence[str] = ()) -> RenderableType:
    """Device time by arm, in total and left.

    Args:
        at_once: runs trained at the same time, see `scheduling.estimate.runs_at_once`.
        notes: on the source of the figures, as sentences.
    """
    unit = unit_for(arm.total for arm in price.arms)
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Arm", "Jobs", "A run", "of it searching", unit.name.capitalize(), "Left"):
        table.add_column(heading, justify="left" if heading == "Arm" else "right", header_style="bold")
    for arm in price.arms:
        searching = math.fsum(arm.seconds.get(phase, 0.0) for phase in _SEARCHING)
        table.add_row(
            Text(arm.arm),
            str(arm.jobs),
            rough_duration(arm.a_run),
            f"{100 * searching / arm.total:.0f} %" if arm.total else ABSENT,
            time_in_words(arm.total / unit.seconds),
            time_in_words(arm.seconds_left / unit.seconds),
        )
    return Group(table, Text(""), *map(Text, (*_sums(price, at_once), *notes, *price.remarks)))


def disk_in_words(images: int, selected: int = 0, checkpoint: int = 0) -> str:
    """`On disk: 1.5 GB decoded images, 2 kB selected weights of all runs.`; parts without bytes are left out.

    Args:
        images: bytes of the decoded images, once for all sweeps of a storage.
        selected: bytes of the selected weights of all runs.
        checkpoint: bytes of the checkpoint of one run in training.
    """
    kinds = {
        "decoded images": images,
        "selected weights of all runs": selected,
        "checkpoint of each run in training": checkpoint,
    }
    listed = [f"{bytes_in_words(size)} {what}" for what, size in kinds.items() if size]
    return f"On disk: {', '.join(listed)}."


def rough_duration(seconds: float) -> str:
    """`8.0 s`, `2.5 min`, `1.6 h`, `19.5 days`: rough, as an estimate is."""
    for unit, name in ((86400.0, "days"), (_HOUR, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def bytes_in_words(size: int) -> str:
    """`360 kB`, `1.5 GB`: powers of ten."""
    value, names = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(names) > 1:
        value, names = value / 1000, names[1:]
    return f"{value:.3g} {names[0]}"


def _sums(price: Price, at_once: int) -> list[str]:
    left = device_time(price.seconds_left) if price.seconds_left else "none"
    sums = [
        f"Price: {device_time(price.seconds)}, {left} of them left "
        f"({len(price.left)} of {count(price.jobs, 'job')}; a job that two arms share counts once here)."
    ]
    if price.shared:
        sums.append(f"Steps that runs share, trained once, save {device_time(price.shared)} of those left.")
    if scaled := [arm.arm for arm in price.arms if arm.scaled]:
        sums.append(f"Roughly, scaled from other arms, as no such run is done: {', '.join(scaled)}.")
    if price.seconds_left:
        left = rough_duration(price.wall_clock(at_once))
        sums.insert(0, f"About {left} of wall-clock time left with {count(at_once, 'run')} at once.")
    return sums
