"""What a plan costs, as a terminal shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunResult, RunState, RunStatus
from gga_sweep.report.wording import ABSENT, count
from gga_sweep.scheduling.price import Price, price_from_runs
from gga_sweep.spec import Plan

UNKNOWN = "Price unknown: no run of it is done, and --calibrate was not asked to measure it."

_HOUR = 3600.0
_SEARCHING = ("search", "diagnostics")


def done_results(plan: Plan, ledger: Ledger, states: Mapping[str, RunState]) -> dict[str, RunResult]:
    """What the DONE runs of a plan left, by folder."""
    folders = dict.fromkeys(run.folder for run in plan.runs)
    return ledger.read_results(
        folder for folder in folders if folder in states and states[folder].status is RunStatus.DONE
    )


def ledger_price(
    plan: Plan, ledger: Ledger, states: Mapping[str, RunState], done: Mapping[str, RunResult]
) -> Price | None:
    """The price by the DONE runs of the plan; None without one."""
    if not done:
        return None
    devices = dict.fromkeys(header.fingerprint.get("device", "") for header in ledger.read_headers(done) if header)
    named = ", ".join(sorted(filter(None, devices))) or "a device that is not recorded"
    return price_from_runs(plan, done, states, named)


def price_picture(price: Price, at_once: int) -> RenderableType:
    """Device-hours by arm and in total, what of them is left, and what the sweep takes on disk.

    Args:
        at_once: runs trained at the same time, see `scheduling.price.runs_at_once`.
    """
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Arm", "Jobs", "A run", "of it searching", "Device-hours", "Left"):
        table.add_column(heading, justify="left" if heading == "Arm" else "right", header_style="bold")
    for arm in price.arms:
        searching = math.fsum(arm.seconds[phase] for phase in _SEARCHING)
        table.add_row(
            Text(arm.arm),
            str(arm.jobs),
            rough_duration(arm.a_run),
            f"{100 * searching / arm.total:.0f} %" if arm.total else ABSENT,
            device_hours(arm.total),
            device_hours(arm.seconds_left),
        )
    return Group(table, Text(""), *map(Text, _notes(price, at_once)))


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


def _notes(price: Price, at_once: int) -> list[str]:
    notes = [
        f"Price: {device_hours(price.seconds)} device-hours, {device_hours(price.seconds_left)} of them left "
        f"({price.left} of {count(price.jobs, 'job')}; one that two arms share counts once here)."
    ]
    if price.shared:
        notes.append(f"Steps that runs share, trained once, save {device_hours(price.shared)} of those left.")
    if price.scaled:
        notes.append(f"Roughly, scaled from other arms, as no such run is done: {', '.join(price.scaled)}.")
    if price.seconds_left:
        left = rough_duration(price.wall_clock(at_once))
        notes.append(f"About {left} with {count(at_once, 'run')} at once.")
    how = "a calibration" if price.source == "calibration" else "the done runs, and what they teach of the others"
    notes.append(f"Device: {price.device}. From {how}.")
    disk = [(price.disk.images, "decoded images"), (price.disk.selected, "selected weights of all runs")]
    disk.append((price.disk.checkpoint, "checkpoint of each run in training"))
    if listed := [f"{bytes_in_words(size)} {what}" for size, what in disk if size]:
        notes.append(f"On disk: {', '.join(listed)}.")
    return [*notes, *price.remarks]
