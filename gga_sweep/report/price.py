"""The cost of a plan on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gga_sweep.report.wording import ABSENT, count
from gga_sweep.scheduling.price import Price

_HOUR = 3600.0
_SEARCHING = ("search", "diagnostics")


def price_picture(price: Price, at_once: int, notes: Sequence[str] = ()) -> RenderableType:
    """Device-hours by arm, in total and left.

    Args:
        at_once: runs trained at the same time, see `scheduling.estimate.runs_at_once`.
        notes: on the source of the figures, as sentences.
    """
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Arm", "Jobs", "A run", "of it searching", "Device-hours", "Left"):
        table.add_column(heading, justify="left" if heading == "Arm" else "right", header_style="bold")
    for arm in price.arms:
        searching = math.fsum(arm.seconds.get(phase, 0.0) for phase in _SEARCHING)
        table.add_row(
            Text(arm.arm),
            str(arm.jobs),
            rough_duration(arm.a_run),
            f"{100 * searching / arm.total:.0f} %" if arm.total else ABSENT,
            device_hours(arm.total),
            device_hours(arm.seconds_left),
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


def device_hours(seconds: float) -> str:
    """`0.0123`, `4.56`, `1,234`."""
    hours = seconds / _HOUR
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def bytes_in_words(size: int) -> str:
    """`360 kB`, `1.5 GB`: powers of ten."""
    value, names = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(names) > 1:
        value, names = value / 1000, names[1:]
    return f"{value:.3g} {names[0]}"


def _sums(price: Price, at_once: int) -> list[str]:
    sums = [
        f"Price: {device_hours(price.seconds)} device-hours, {device_hours(price.seconds_left)} of them left "
        f"({len(price.left)} of {count(price.jobs, 'job')}; a job that two arms share counts once here)."
    ]
    if price.shared:
        sums.append(f"Steps that runs share, trained once, save {device_hours(price.shared)} of those left.")
    if scaled := [arm.arm for arm in price.arms if arm.scaled]:
        sums.append(f"Roughly, scaled from other arms, as no such run is done: {', '.join(scaled)}.")
    if price.seconds_left:
        sums.append(f"About {rough_duration(price.wall_clock(at_once))} with {count(at_once, 'run')} at once.")
    return sums
