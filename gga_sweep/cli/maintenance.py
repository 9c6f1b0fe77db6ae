"""Commands on a sweep's folder: show its status, verify its files, delete unneeded ones."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import FAILED, Folder, bad_input, err, out, without_collection

if TYPE_CHECKING:
    from gga_sweep.execution.verify import Verification

_TERMINAL_SECONDS, _LINE_SECONDS = 5.0, 60.0
"""Interval between updates of --watch, on a terminal and elsewhere."""


def status(
    folder: Folder,
    follow: Annotated[
        bool, typer.Option("--watch", help="Update the status until all runs are final or no launch is live.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            min=1, metavar="SECONDS", help="Interval between updates of --watch. Default: 5; 60 without a terminal."
        ),
    ] = None,
) -> None:
    """Show the status of a sweep's runs, with reasons, and whether a launch is live."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_present_plan
    from gga_sweep.report.status import read_states, read_work, status_picture

    if follow:
        _watch(folder, every)
        return
    if every is not None:
        raise bad_input("--every", "needs --watch", f"{every:g}")
    without_collection()
    planned, ledger = read_present_plan(folder), Ledger(folder)
    out.print(status_picture(planned, read_states(planned, ledger), read_work(ledger)))


def _watch(folder: str, every: float | None) -> None:
    from functools import partial

    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_present_plan
    from gga_sweep.report.progress import Watcher
    from gga_sweep.report.watch import SHOWN_RUNS, watch

    every = every or (_TERMINAL_SECONDS if out.is_terminal else _LINE_SECONDS)
    with suppress(KeyboardInterrupt):
        watch(Watcher(partial(read_present_plan, folder), Ledger(folder), SHOWN_RUNS).look, every, out)


def verify(folder: Folder) -> None:
    """Check that every file of a sweep is complete and unchanged. Writes nothing; may run during a launch."""
    from functools import partial

    from rich.progress import Progress

    from gga_sweep.execution.verify import verify as verify_ledger
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan

    without_collection()
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("Runs")
        found = verify_ledger(
            Ledger(folder),
            partial(read_plan, folder),
            lambda looked, of: progress.update(task, completed=looked, total=of),
        )
    _print_verification(found, folder)
    if found.findings:
        raise typer.Exit(FAILED)


def clean(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the files; otherwise they are only counted.")] = False,
) -> None:
    """Count or delete files that a sweep no longer needs: weights of unselected runs, checkpoints, leftovers."""
    from collections import Counter

    from rich.table import Table

    from gga_sweep.execution.clean import KINDS, unneeded
    from gga_sweep.execution.clean import clean as clean_ledger
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.report.unselected import unselected_runs

    without_collection()
    planned, ledger = read_plan(folder), Ledger(folder)
    found = (clean_ledger if yes else unneeded)(planned, ledger, unselected_runs)
    files, sizes = Counter(one.kind for one in found), Counter[str]()
    for one in found:
        sizes[one.kind] += one.size
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("Deleted" if yes else "Not needed", header_style="bold")
    for heading in ("Files", "MiB"):
        table.add_column(heading, justify="right", header_style="bold")
    for kind in KINDS:
        table.add_row(kind, str(files[kind]), _mebibytes(sizes[kind]))
    table.add_row("total", str(files.total()), _mebibytes(sizes.total()))
    out.print(table)
    if found and not yes:
        out.print(f"Nothing was deleted. To delete: gga-sweep clean {shlex.quote(str(folder))} --yes", soft_wrap=True)


def _print_verification(found: Verification, folder: str) -> None:
    from gga_sweep.report.wording import count

    quoted = shlex.quote(str(folder))
    out.print(f"Checked {', '.join(count(number, what) for what, number in found.checked.items())}.")
    if found.unfinished:
        partial, size = count(len(found.unfinished), "partly written file"), sum(found.unfinished.values())
        out.print(f"Found {partial} ({_mebibytes(size)} MiB), which nothing reads: `gga-sweep clean` removes old ones.")
    if not found.findings:
        out.print("No faults.")
        return
    out.print(f"{count(len(found.findings), 'fault')}:")
    for finding in found.findings:
        out.print(f"  {finding}", soft_wrap=True)
    if again := found.runs("retry"):
        keys = " ".join(shlex.quote(name) for name in again)
        out.print(f"A launch does not repair {count(len(again), 'run')}. To train again from step 0:")
        out.print(f"  gga-sweep retry {quoted} {keys}", soft_wrap=True)
    if left := found.runs("launch"):
        out.print(f"The next launch repairs {count(len(left), 'run')}.")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f}"
