"""Commands that launch a sweep, train runs again, and stop a launch."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import (
    CONTINUES,
    DEFAULT_STORAGE,
    FAILED,
    INTERRUPTED,
    Folder,
    Overrides,
    Storage,
    SweepFile,
    TrackingURI,
    err,
    load_sweep,
    out,
)
from gga_sweep.cli.launch_options import takes_launch_options
from gga_sweep.cli.output import STANDARD
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.report.waiting import waiting

if TYPE_CHECKING:
    from gga_sweep.api import SweepResult
    from gga_sweep.spec import SweepSpec

_STOP_SECONDS = 900.0
_SHOWN_FAILURES = 3


@takes_launch_options()
def run(
    file: SweepFile,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingURI = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", help="Launch in the background; write its output to launch.log in the sweep's folder."
        ),
    ] = False,
    *,
    options: LaunchOptions,
) -> None:
    """Train the unfinished runs of a sweep, track them, select, print the table. Run it again to continue."""
    STANDARD.required = detach  # the exit code of a launch is that of its runs
    with waiting(out, f"Reading {file}"):
        sweep = load_sweep(file, overrides, storage, tracking_uri)
    if detach:
        _detach(sweep, file, overrides, options)
    else:
        launch_and_print(sweep, options)


@takes_launch_options(without=("allow_change", "dashboard"))
def retry(
    folder: Folder,
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Runs: names of their folders, or starts of their keys.")
    ] = [],  # noqa: B006
    failed: Annotated[
        bool, typer.Option("--failed", help="Runs that failed or ran out of memory. The default without KEY.")
    ] = False,
    diverged: Annotated[bool, typer.Option("--diverged", help="Runs that diverged.")] = False,
    tracking_uri: TrackingURI = None,
    *,
    options: LaunchOptions,
) -> None:
    """Train runs again from step 0, and all unfinished runs of the sweep as it was last launched."""
    import os

    from gga_sweep.execution.retry import requeue
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.report.wording import count
    from gga_sweep.tracking.tracking_uri import resolve_tracking_uri

    plan = read_plan(folder)
    sweep = replace(plan.sweep, tracking_uri=tracking_uri)
    resolve_tracking_uri(sweep.storage, tracking_uri, os.environ)  # reports a malformed URI before runs are deleted
    failed = failed or not (diverged or keys)
    requeued = requeue(
        replace(plan, sweep=sweep),
        Ledger(folder),
        failed=failed,
        diverged=diverged,
        keys=keys,
        take_over=options.take_over,
    )
    if not requeued:
        out.print("Nothing to retry: no run has a matching status.")
        return
    out.print(f"Requeued, to start at step 0: {count(len(requeued), 'run')}.")
    launch_and_print(sweep, options)


def stop(
    folder: Folder,
    wait: Annotated[bool, typer.Option(help="Wait until the launch has ended.")] = True,
) -> None:
    """Stop the live launch of a sweep, from any machine that can read its storage. Its runs write checkpoints."""
    from gga_sweep.ledger.lease import LAUNCHES, ask_to_stop, live_holder, wait_for_end
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan

    read_plan(folder)  # raises if it is no sweep's folder
    store = Ledger(folder).store
    holder = live_holder(store, LAUNCHES)
    if holder is None:
        out.print("No launch of this sweep is live.")
        return
    ask_to_stop(store, LAUNCHES, holder.number, "stopped by `gga-sweep stop`")
    out.print(f"Sent a stop request to the launch ({holder}).")
    if not wait:
        return
    out.print("Its runs write checkpoints: up to 30 s, and the rest of an annealed step.")
    if not wait_for_end(store, LAUNCHES, holder.number, _STOP_SECONDS):
        err.print(f"It has not ended within {_STOP_SECONDS / 60:.0f} min.")
        raise typer.Exit(FAILED)
    out.print(f"It has ended. {CONTINUES}")


def launch_and_print(sweep: SweepSpec, options: LaunchOptions) -> None:
    """Launch, print the report, and exit with the documented code."""
    from gga_sweep.api import run_sweep
    from gga_sweep.report.text import print_answer

    STANDARD.required = False  # the exit code is that of the runs
    result = run_sweep(sweep, options, out)
    out.print()
    print_answer(result.report, out)
    _print_outcome(sweep, result)
    if result.stopped is not None:
        err.print(f"Stopped: {result.stopped}. {CONTINUES}")
    if result.failed and (result.stopped is None or options.on_error == "stop"):
        raise typer.Exit(FAILED)
    if result.stopped is not None:
        raise typer.Exit(INTERRUPTED)


def _print_outcome(sweep: SweepSpec, result: SweepResult) -> None:
    from gga_sweep.report.wording import count, device_time, run_name

    folder = shlex.quote(str(result.ledger.folder))
    for failure in result.failed[:_SHOWN_FAILURES]:
        err.print(f"Failed: {run_name(failure)}: {failure.reason}")
    if (more := len(result.failed) - _SHOWN_FAILURES) > 0:
        err.print(f"Failed: {count(more, 'more run')}; `gga-sweep status {folder}` shows why.")
    out.print()
    out.print(f"Spent:   {device_time(result.device_seconds)} over all launches")
    out.print(f"Page:    {result.paths['html']}", soft_wrap=True)
    out.print(f"MLflow:  gga-sweep ui {folder}{_uri_flag(sweep)}", soft_wrap=True)
    out.print(f"Details: gga-sweep report --full {folder}", soft_wrap=True)


def _uri_flag(sweep: SweepSpec) -> str:
    from gga_sweep.tracking.tracking_uri import redact

    return "" if sweep.tracking_uri is None else f" --tracking-uri {shlex.quote(redact(sweep.tracking_uri))}"


def _detach(sweep: SweepSpec, file: str, overrides: list[str], options: LaunchOptions) -> None:
    from gga_sweep.cli.detached import launch_detached

    arguments = [str(Path(file).absolute()) if Path(file).exists() else file]
    arguments += [word for override in overrides for word in ("--set", override)]
    launched = launch_detached(sweep, arguments, options)
    folder = shlex.quote(str(sweep.folder.absolute()))
    out.print(f"Launched in the background: process {launched.pid}. Its output: {launched.log}", soft_wrap=True)
    out.print(f"Status: gga-sweep status {folder}   Stop: gga-sweep stop {folder}", soft_wrap=True)
