"""Plans and statuses on a terminal."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gga_sweep.errors import shortened
from gga_sweep.ledger.lease import LAUNCHES, HeartbeatWatch, Holder, newest_holder, reason_to_stop
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import FINAL, RunState, RunStatus
from gga_sweep.report.wording import count, run_name
from gga_sweep.selection.view import status_in_words
from gga_sweep.spec import Outline, Plan
from gga_sweep.spec.adaptive_search import unsuggested_runs

_LISTED = 20
_LONGEST_REASON = 200
_SHOWN = (
    RunStatus.FAILED,
    RunStatus.OUT_OF_MEMORY,
    RunStatus.DIVERGED,
    RunStatus.PREEMPTED,
    RunStatus.STOPPED,
    RunStatus.RUNNING,
)
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Work:
    """The live launch of a sweep, or its last one.

    Args:
        holder: of the lease.
        alive: whether it is live; None if it is on another machine and nobody has watched its heartbeat.
        stop_request: the reason to stop; None without a request.
    """

    holder: Holder
    alive: bool | None
    stop_request: str | None = None


def plan_picture(plan: Outline, states: Mapping[str, RunState]) -> RenderableType:
    """Cells, runs and finished runs by arm, the resources of a run, and the protocol."""
    sweep = plan.sweep
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Arm", "Cells", "Runs", "Done"):
        table.add_column(heading, justify="left" if heading == "Arm" else "right", header_style="bold")
    for arm in sweep.arms:
        runs = [run for run in plan.runs if run.cell.arm == arm.name]
        done = sum(_state(states, run.folder).status in FINAL for run in runs)
        table.add_row(arm.name, str(len({run.cell for run in runs})), str(len(runs)), str(done))
    cells = len({run.cell for run in plan.runs})
    jobs = len(plan.configs)
    resources = sweep.config.resources
    device = f"{resources.cpus:g} CPU" + _gpu_in_words(resources.gpus)
    if workers := resources.data_workers:
        device += f", with {workers} data worker{'s' * (workers > 1)}"
    notes = [
        f"{len(plan.runs)} runs in {cells} cells, {jobs} distinct training jobs of {sweep.training.steps} steps.",
        *([f"{later} more will be suggested from their results."] if (later := unsuggested_runs(plan)) else []),
        f"Each run occupies {device}.",
        f"Protocol {sweep.protocol.name}: {sweep.protocol.summary}",
        *(
            f"Deviation: {deviation.removesuffix('.')}."
            for deviation in (*sweep.protocol.deviations, *sweep.deviations)
        ),
    ]
    if not sweep.dataset.available:
        root = sweep.config.dataset.root
        notes.append(
            f"The images of {sweep.dataset.name} are missing ({root or 'no dataset.root given'}): planned from its "
            "published domains and counts, without keys. `run` and `train` need them."
        )
    return Group(Text(f"{sweep.name}: plan", style="bold"), Text(""), table, Text(""), *map(Text, notes))


def _gpu_in_words(gpus: float | Literal["auto"]) -> str:
    if gpus == "auto":
        return " and the share of a GPU that its memory requires"
    return f" and {gpus:g} GPU" if gpus else ""


def status_picture(plan: Plan, states: Mapping[str, RunState], work: Work | None = None) -> RenderableType:
    """Counts by arm and status, the launch, and the runs that are neither queued nor done.

    Args:
        work: its live or last launch; None without any.
    """
    folders = dict.fromkeys(run.folder for run in plan.runs if run.folder in states)  # two arms may share a run
    known = {folder: states[folder] for folder in folders}
    names = {run.folder: run_name(run) for run in reversed(plan.runs)}
    parts: list[RenderableType] = [counts_table(plan, states), Text(f"{work_in_words(work)}{_abandoned(known, work)}")]
    if groups := _groups(known):
        parts.append(_listed(groups, plan.sweep.training.steps, names))
    if changed := {folder: state.environments for folder, state in known.items() if state.environments}:
        parts.append(Text(_changed_in_words(changed, names)))
    spaced = (line for part in parts for line in (Text(""), part))
    return Group(Text(f"{plan.sweep.name}: status", style="bold"), *spaced)


def counts_table(plan: Plan, states: Mapping[str, RunState], most_arms: int | None = None) -> Table:
    """Runs by arm and status.

    Args:
        most_arms: further arms share one line, those without a run in training first. None: each has its own.
    """
    counts: dict[str, Counter[RunStatus]] = {arm.name: Counter() for arm in plan.sweep.arms}
    for run in plan.runs:
        counts[run.cell.arm][_state(states, run.folder).status] += 1
    shown = [status for status in RunStatus if any(count[status] for count in counts.values())]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("Arm", header_style="bold", overflow="fold")
    for heading in (status_in_words(status).capitalize() for status in shown):
        width = max(map(len, heading.split()))  # so that a narrow terminal does not cut words
        table.add_column(heading, justify="right", header_style="bold", min_width=width)
    for arm, of_arm in _with_others(counts, most_arms).items():
        table.add_row(arm, *(str(of_arm[status]) for status in shown))
    return table


def _with_others(counts: dict[str, Counter[RunStatus]], most_arms: int | None) -> dict[str, Counter[RunStatus]]:
    if most_arms is None or len(counts) <= most_arms:
        return counts
    named = set(sorted(counts, key=lambda arm: not counts[arm][RunStatus.RUNNING])[:most_arms])
    others = sum((of_arm for arm, of_arm in counts.items() if arm not in named), Counter[RunStatus]())
    kept = {arm: of_arm for arm, of_arm in counts.items() if arm in named}
    return {**kept, f"{count(len(counts) - len(named), 'other arm')}": others}


def work_in_words(work: Work | None) -> str:
    """Whether a launch is live, its process, and a request to stop."""
    if work is None:
        return "No launch is live."
    holder = work.holder
    stop = "" if work.stop_request is None else f" Stop requested: {work.stop_request}."
    process = f"process {holder.pid} on {holder.host}"
    since = f"since {_moment(holder.started)}"
    if work.alive and holder.is_here:
        seen = max(0.0, time.time() - holder.seen)
        return f"A launch is live: {process}, {since}, last seen {seen:.0f} s ago.{stop}"
    if work.alive:
        return f"A launch is live: {process}, {since} (its clock).{stop}"
    if work.alive is None:
        return (
            f"A launch has not ended: {process}, {since}, last heartbeat {_moment(holder.seen)} (its clock). "
            f"`gga-sweep status --watch` shows whether it is live.{stop}"
        )
    if holder.ended is None:
        return f"No launch is live. The last, {process}, was lost: last seen {_moment(holder.seen)}.{stop}"
    return f"No launch is live. The last, {process}, ended {_moment(holder.ended)}.{stop}"


def _abandoned(states: Mapping[str, RunState], work: Work | None) -> str:
    running = sum(state.status is RunStatus.RUNNING for state in states.values())
    if running == 0 or (work is not None and work.alive is not False):
        return ""
    is_marked, it = ("is", "it") if running == 1 else ("are", "them")
    return (
        f"\n{count(running, 'run')} {is_marked} marked as running without a live launch; launch again to continue {it}."
    )


def _groups(states: Mapping[str, RunState]) -> list[list[tuple[str, RunState]]]:
    """The runs that are neither queued nor done, those of one status and one reason together.

    Reasons that differ in numbers alone, or in the name of the run, are one.
    """
    groups: dict[tuple[RunStatus, str], list[tuple[str, RunState]]] = {}
    for folder, state in states.items():
        if state.status in _SHOWN:
            alike = folder if state.reason is None else _NUMBER.sub("0", state.reason.replace(folder, ""))
            groups.setdefault((state.status, alike), []).append((folder, state))
    return sorted(groups.values(), key=lambda group: _SHOWN.index(group[0][1].status))


def _listed(groups: Sequence[Sequence[tuple[str, RunState]]], steps: int, names: Mapping[str, str]) -> Table:
    """Of each group one run, its folder, by which `retry` and `train` find it, its step and its reason."""
    table = Table(box=None, show_header=False, padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for group in groups[:_LISTED]:
        folder, state = group[0]
        number = "" if len(group) == 1 else f"{len(group)} "
        where = f"at step {state.step} of {steps}" if state.step >= 0 else "before its first step"
        reason = "" if state.reason is None else f": {short(state.reason)}"
        example = "e.g. " if len(group) > 1 else ""
        what = f"{example}{names[folder]} [{folder}] {where}{reason}"
        table.add_row(f"{number}{status_in_words(state.status)}", Text(what))
    if left_out := sum(map(len, groups[_LISTED:])):
        table.add_row("", f"and {count(left_out, 'more run')}")
    return table


def _changed_in_words(changed: Mapping[str, Sequence[str]], names: Mapping[str, str]) -> str:
    folder, changes = next(iter(changed.items()))
    example = f"{'e.g. ' if len(changed) > 1 else ''}{names[folder]} {'; '.join(changes)}"
    return f"{count(len(changed), 'run')} resumed in another environment: {example}."


def short(reason: str) -> str:
    """On one line, cut if it is too long."""
    return shortened(reason, _LONGEST_REASON)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def read_work(ledger: Ledger, watch: HeartbeatWatch | None = None) -> Work | None:
    """The live launch of a sweep, or its last one; None without any.

    Args:
        watch: of a caller that reads again and again.
    """
    holder = newest_holder(ledger.store, LAUNCHES)
    if holder is None or not holder.started:  # a damaged file
        return None
    live = None if holder.is_gone else holder
    beaten = False
    if watch is not None:
        live, beaten = watch.live_holder(), watch.has_beaten
    alive = False if live is None else True if live.is_here or beaten else None
    return Work(holder, alive, reason_to_stop(ledger.store, LAUNCHES, holder.number))


def read_states(plan: Plan, ledger: Ledger) -> dict[str, RunState]:
    """By folder, of the runs that were started."""
    return ledger.read_started_states(dict.fromkeys(run.folder for run in plan.runs))


def _state(states: Mapping[str, RunState], folder: str) -> RunState:
    return states.get(folder, RunState())
