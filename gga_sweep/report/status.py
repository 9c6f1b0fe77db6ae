"""Plans and statuses as a terminal shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunState
from gga_sweep.planning import Plan
from gga_sweep.records import FINAL, RunStatus
from gga_sweep.selection.table import status_in_words

_LISTED = 20


def plan_picture(plan: Plan, states: Mapping[str, RunState]) -> RenderableType:
    """Runs and cells by arm, what needs no more training, and what each run occupies."""
    sweep = plan.sweep
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("Arm", "Cells", "Runs", "Done"):
        table.add_column(heading, justify="left" if heading == "Arm" else "right", header_style="bold")
    for arm in sweep.arms:
        runs = [run for run in plan.runs if run.cell.arm == arm.name]
        done = sum(_state(states, run.folder).status in FINAL for run in runs)
        table.add_row(arm.name, str(len({run.cell for run in runs})), str(len(runs)), str(done))
    cells = len({run.cell for run in plan.runs})
    jobs = len(plan.configs) or len({run.config.model_dump_json() for run in plan.runs})
    resources = sweep.config.resources
    device = f"{resources.cpus:g} CPU" + (f" and {resources.gpus:g} GPU" if resources.gpus else "")
    notes = [
        f"{len(plan.runs)} runs in {cells} cells, {jobs} distinct training jobs of {sweep.training.steps} steps.",
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
            f"The images of {sweep.dataset.name} are not there ({root or 'no dataset.root given'}): planned from its "
            "published domains and counts, without keys. `run` and `train` need them."
        )
    return Group(Text(f"{sweep.name}: plan", style="bold"), Text(""), table, Text(""), *map(Text, notes))


def status_picture(plan: Plan, states: Mapping[str, RunState]) -> RenderableType:
    """Counts by arm and status, and every run that is neither queued nor done."""
    counts = {
        arm.name: Counter(_state(states, run.folder).status for run in plan.runs if run.cell.arm == arm.name)
        for arm in plan.sweep.arms
    }
    shown = [status for status in RunStatus if any(count[status] for count in counts.values())]
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("Arm", header_style="bold")
    for status in shown:
        table.add_column(status_in_words(status).capitalize(), justify="right", header_style="bold")
    for arm, count in counts.items():
        table.add_row(arm, *(str(count[status]) for status in shown))
    lines = dict.fromkeys(  # two arms may share a run
        f"{run.folder}: {status_in_words(state.status)} at step {state.step}"
        + (f" ({state.reason})" if state.reason else "")
        for run in plan.runs
        if (state := _state(states, run.folder)).status not in (RunStatus.QUEUED, RunStatus.DONE)
    )
    more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return Group(
        Text(f"{plan.sweep.name}: status", style="bold"),
        Text(""),
        table,
        *([Text("")] if lines else []),
        *map(Text, [*list(lines)[:_LISTED], *more]),
    )


def read_states(plan: Plan, ledger: Ledger) -> dict[str, RunState]:
    """By folder, of the runs that were started."""
    present = set(ledger.run_names())
    return ledger.read_states({folder for run in plan.runs if (folder := run.folder) is not None and folder in present})


def _state(states: Mapping[str, RunState], folder: str | None) -> RunState:
    return states.get(folder or "", RunState())
