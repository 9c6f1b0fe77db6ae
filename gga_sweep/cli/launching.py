"""Commands that launch a sweep, and that end a launch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import (
    CONTINUES,
    DEFAULT_STORAGE,
    FAILED,
    INTERRUPTED,
    Address,
    Folder,
    KeepCheckpoints,
    MaxConcurrent,
    OnFailure,
    Overrides,
    RequireTracking,
    Storage,
    StrictEnvironment,
    SweepFile,
    TakeOver,
    TrackingURI,
    Unshared,
    err,
    load_sweep,
    out,
)

if TYPE_CHECKING:
    from gga_sweep.ray_backend.options import LaunchOptions
    from gga_sweep.ray_backend.result import SweepResult
    from gga_sweep.spec import Sweep

_STOP_SECONDS = 900.0


def run(
    file: SweepFile,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingURI = None,
    require_tracking: RequireTracking = False,
    address: Address = None,
    max_concurrent: MaxConcurrent = None,
    allow_change: Annotated[
        bool, typer.Option("--allow-change", help="Go on although the file changed under its name.")
    ] = False,
    take_over: TakeOver = False,
    on_error: OnFailure = "continue",
    keep_checkpoints: KeepCheckpoints = "selected",
    strict_environment: StrictEnvironment = False,
    unshared: Unshared = False,
    dashboard: Annotated[
        bool,
        typer.Option("--dashboard", help="Start Ray's dashboard too, on 127.0.0.1. Needs gga-sweep[dashboard]."),
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Launch in the background; its output goes to launch.log of the sweep.")
    ] = False,
) -> None:
    """Train what is left of a sweep, track it, select, print the table. Run it again to continue."""
    from gga_sweep.ray_backend.options import LaunchOptions

    sweep = load_sweep(file, overrides, storage, tracking_uri)
    options = LaunchOptions(
        address=address,
        max_concurrent=max_concurrent,
        require_tracking=require_tracking,
        allow_change=allow_change,
        take_over=take_over,
        on_error=on_error,
        keep_checkpoints=keep_checkpoints,
        strict_environment=strict_environment,
        unshared=unshared,
        dashboard=dashboard,
    )
    if detach:
        _detach(sweep, file, overrides, options)
    else:
        launch_and_print(sweep, options)


def stop(
    folder: Folder,
    wait: Annotated[bool, typer.Option(help="Until the launch has ended.")] = True,
) -> None:
    """Stop the live launch of a sweep, from anywhere that sees its storage. Its runs write their checkpoints first."""
    from gga_sweep.ledger.lease import LAUNCHES, ask_to_stop, live_holder, wait_for_end
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan

    read_plan(folder)  # refuses a folder that is none
    store = Ledger(folder).store
    holder = live_holder(store, LAUNCHES)
    if holder is None:
        out.print("No launch of this sweep is live.")
        return
    ask_to_stop(store, LAUNCHES, holder.number, "stopped by `gga-sweep stop`")
    out.print(f"Asked the launch to stop ({holder}).")
    if not wait:
        return
    out.print("Its runs write their checkpoints: up to 30 s, and the annealed step that each is in.")
    if not wait_for_end(store, LAUNCHES, holder.number, _STOP_SECONDS):
        err.print(f"It has not ended within {_STOP_SECONDS / 60:.0f} min.")
        raise typer.Exit(FAILED)
    out.print(f"It has ended. {CONTINUES}")


def launch_and_print(sweep: Sweep, options: LaunchOptions) -> None:
    """Launch, print the report, and exit as the command line promises."""
    from gga_sweep.ray_backend.launch import run_sweep
    from gga_sweep.report.text import print_report

    result = run_sweep(sweep, options, out)
    out.print()
    print_report(result.report, out)
    _print_outcome(sweep, result)
    if result.stopped is not None:
        err.print(f"Stopped: {result.stopped}. {CONTINUES}")
    if result.failed and (result.stopped is None or options.on_error == "stop"):
        raise typer.Exit(FAILED)
    if result.stopped is not None:
        raise typer.Exit(INTERRUPTED)


def _print_outcome(sweep: Sweep, result: SweepResult) -> None:
    from gga_sweep.report.price import device_hours
    from gga_sweep.report.wording import run_in_words

    for failure in result.failed:
        err.print(f"Failed: {run_in_words(failure)}: {failure.reason}")
    out.print()
    out.print(f"Spent:   {device_hours(result.device_seconds)} device-hours in all; by arm on the page")
    out.print(f"Page:    {result.paths['html']}", soft_wrap=True)
    out.print(f"Ledger:  {result.ledger.folder}", soft_wrap=True)
    out.print(f"MLflow:  gga-sweep ui {shlex.quote(str(result.ledger.folder))}{_uri_flag(sweep)}", soft_wrap=True)


def _uri_flag(sweep: Sweep) -> str:
    from gga_sweep.tracking.location import redact

    return "" if sweep.tracking_uri is None else f" --tracking-uri {shlex.quote(redact(sweep.tracking_uri))}"


def _detach(sweep: Sweep, file: str, overrides: list[str], options: LaunchOptions) -> None:
    from gga_sweep.ray_backend.detached import launch_detached

    arguments = [str(Path(file).absolute()) if Path(file).exists() else file]
    arguments += [word for override in overrides for word in ("--set", override)]
    launched = launch_detached(sweep, arguments, options)
    folder = shlex.quote(str(sweep.folder.absolute()))
    out.print(f"Launched in the background: process {launched.pid}. Its output: {launched.log}", soft_wrap=True)
    out.print(f"Look: gga-sweep status {folder}   Stop: gga-sweep stop {folder}", soft_wrap=True)
