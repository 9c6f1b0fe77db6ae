"""Commands that look after a sweep's folder: how it stands, whether it is whole, what may go, what is trained anew."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import (
    FAILED,
    Address,
    Folder,
    KeepCheckpoints,
    MaxConcurrent,
    OnFailure,
    RequireTracking,
    StrictEnvironment,
    TakeOver,
    TrackingURI,
    Unshared,
    bad_input,
    err,
    out,
    without_collection,
)

if TYPE_CHECKING:
    from gga_sweep.execution.verify import Verification

_LOOK_SECONDS, _LINE_SECONDS = 5.0, 60.0
"""Between two looks of a watch, on a terminal and elsewhere."""


def status(
    folder: Folder,
    follow: Annotated[
        bool, typer.Option("--watch", help="Show it again and again, until all runs are final or no launch is live.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Between two looks of --watch. Default: 5; 60 without a terminal."),
    ] = None,
) -> None:
    """Show the states of a sweep's runs, with reasons, and whether a launch is live."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.report.status import read_states, read_work, status_picture

    if follow:
        _watch(folder, every)
        return
    if every is not None:
        raise bad_input("--every", "goes with --watch", f"{every:g}")
    without_collection()
    planned, ledger = read_plan(folder), Ledger(folder)
    out.print(status_picture(planned, read_states(planned, ledger), read_work(ledger)))


def _watch(folder: str, every: float | None) -> None:
    from functools import partial

    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.report.progress import Watcher
    from gga_sweep.report.watch import SHOWN_RUNS, watch

    every = every or (_LOOK_SECONDS if out.is_terminal else _LINE_SECONDS)
    with suppress(KeyboardInterrupt):
        watch(Watcher(partial(read_plan, folder), Ledger(folder), SHOWN_RUNS).look, every, out)


def verify(folder: Folder) -> None:
    """Check every file of a sweep: that it is whole, and what was written. Changes nothing; may run beside a launch."""
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
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it nothing is deleted.")] = False,
) -> None:
    """Show, or delete, what a sweep no longer needs: weights of runs that were not selected, and leftovers."""
    from collections import Counter

    from rich.table import Table

    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.ray_backend.clean import KINDS, unneeded
    from gga_sweep.ray_backend.clean import clean as clean_ledger

    without_collection()
    planned, ledger = read_plan(folder), Ledger(folder)
    found = clean_ledger(planned, ledger) if yes else unneeded(planned, ledger)
    files, sizes = Counter(one.kind for one in found), Counter[str]()
    for one in found:
        sizes[one.kind] += one.size
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("Deleted" if yes else "May go", header_style="bold")
    for heading in ("Files", "MiB"):
        table.add_column(heading, justify="right", header_style="bold")
    for kind in KINDS:
        table.add_row(kind, str(files[kind]), _mebibytes(sizes[kind]))
    table.add_row("all", str(files.total()), _mebibytes(sizes.total()))
    out.print(table)
    if found and not yes:
        out.print(
            f"Nothing was deleted. This deletes it: gga-sweep clean {shlex.quote(str(folder))} --yes", soft_wrap=True
        )


def retry(
    folder: Folder,
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Runs, by their folders' names or the starts of their keys.")
    ] = [],  # noqa: B006
    failed: Annotated[
        bool, typer.Option("--failed", help="Those that failed or ran out of memory. The default without KEY.")
    ] = False,
    diverged: Annotated[bool, typer.Option("--diverged", help="Those that diverged.")] = False,
    tracking_uri: TrackingURI = None,
    require_tracking: RequireTracking = False,
    address: Address = None,
    max_concurrent: MaxConcurrent = None,
    take_over: TakeOver = False,
    on_error: OnFailure = "continue",
    keep_checkpoints: KeepCheckpoints = "selected",
    strict_environment: StrictEnvironment = False,
    unshared: Unshared = False,
) -> None:
    """Train runs anew from step 0, and what else is left of the sweep as it was last launched."""
    from dataclasses import replace

    from gga_sweep.cli.launching import launch_and_print
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.ray_backend.options import LaunchOptions
    from gga_sweep.ray_backend.retry import requeue
    from gga_sweep.report.wording import count

    planned = read_plan(folder)
    planned = replace(planned, sweep=replace(planned.sweep, tracking_uri=tracking_uri))
    failed = failed or not (diverged or keys)
    again = requeue(planned, Ledger(folder), failed=failed, diverged=diverged, keys=keys, take_over=take_over)
    if not again:
        out.print("Nothing to retry: no run is in such a state.")
        return
    out.print(f"Back in the queue, to begin at step 0: {count(len(again), 'run')}.")
    options = LaunchOptions(
        address=address,
        max_concurrent=max_concurrent,
        require_tracking=require_tracking,
        on_error=on_error,
        keep_checkpoints=keep_checkpoints,
        strict_environment=strict_environment,
        unshared=unshared,
    )
    launch_and_print(planned.sweep, options)


def _print_verification(found: Verification, folder: str) -> None:
    from gga_sweep.report.wording import count

    quoted = shlex.quote(str(folder))
    out.print(f"Looked at {', '.join(count(number, what) for what, number in found.checked.items())}.")
    if found.unfinished:
        halves, size = count(len(found.unfinished), "half-written file"), sum(found.unfinished.values())
        out.print(f"Beside them {halves} ({_mebibytes(size)} MiB), read by nobody: `gga-sweep clean` removes old ones.")
    if not found.findings:
        out.print("Nothing is wrong.")
        return
    out.print(f"{count(len(found.findings), 'fault')}:")
    for finding in found.findings:
        out.print(f"  {finding}", soft_wrap=True)
    if anew := found.runs("retry"):
        keys = " ".join(shlex.quote(name) for name in anew)
        out.print(f"To train anew, from step 0, {count(len(anew), 'run')} that no launch takes up by itself:")
        out.print(f"  gga-sweep retry {quoted} {keys}", soft_wrap=True)
    if left := found.runs("launch"):
        out.print(f"The next launch puts {count(len(left), 'run')} right.")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f}"
