"""Commands on a whole sweep: run it, look at its plan and its states, open its page, train its winners again."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import (
    DEFAULT_STORAGE,
    FAILED,
    INTERRUPTED,
    INTERRUPTED_IN_WORDS,
    Folder,
    Overrides,
    Storage,
    SweepFile,
    TrackingURI,
    err,
    load_sweep,
    out,
    whole_numbers,
    without_collection,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.run_folder import RunState
    from gga_sweep.planning import Plan, Sweep
    from gga_sweep.sweep.result import SweepResult


def run(
    file: SweepFile,
    overrides: Overrides = [],  # noqa: B006  typer copies it
    storage: Storage = DEFAULT_STORAGE,
    tracking_uri: TrackingURI = None,
    require_tracking: Annotated[
        bool, typer.Option("--require-tracking", help="Refuse to start without the tracking server.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster; auto finds one. Default: start a local one.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Runs at once. Default: what the resources allow.")
    ] = None,
    allow_change: Annotated[
        bool, typer.Option("--allow-change", help="Go on although the file changed under its name.")
    ] = False,
) -> None:
    """Train what is left of a sweep, track it, select, print the table. Run it again to continue."""
    from gga_sweep.report.text import print_report
    from gga_sweep.sweep.launch import run_sweep
    from gga_sweep.sweep.options import LaunchOptions

    sweep = load_sweep(file, overrides, storage, tracking_uri)
    options = LaunchOptions(address, max_concurrent, require_tracking, allow_change)
    result = run_sweep(sweep, options, out)
    out.print()
    print_report(result.report, out)
    _print_outcome(sweep, result)
    if result.interrupted:
        err.print(INTERRUPTED_IN_WORDS)
        raise typer.Exit(INTERRUPTED)
    if result.failed:
        raise typer.Exit(FAILED)


def plan(
    file: SweepFile,
    overrides: Overrides = [],  # noqa: B006
    storage: Storage = DEFAULT_STORAGE,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure the price by a short training on this machine.")
    ] = False,
) -> None:
    """Show the runs a sweep needs, its cells, devices and price. Trains nothing of it."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.planning import plan_sweep, read_contents
    from gga_sweep.report.status import plan_picture, read_states

    sweep = load_sweep(file, overrides, storage, None)
    planned = plan_sweep(sweep, read_contents(sweep) if sweep.dataset.available else None)
    ledger = Ledger(sweep.folder)
    states = read_states(planned, ledger)
    out.print(plan_picture(planned, states))
    out.print()
    out.print(_price_picture(planned, ledger, states, calibrate))


def status(folder: Folder) -> None:
    """Show the states of a sweep's runs, with reasons."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.planning.stored import read_plan
    from gga_sweep.report.status import read_states, status_picture

    without_collection()
    planned = read_plan(folder)
    out.print(status_picture(planned, read_states(planned, Ledger(folder))))


def reseed(
    folder: Folder,
    trial_seeds: Annotated[str, typer.Option(metavar="SEEDS", help="To train on, e.g. 1-4 or 1,2,7.")],
    from_seed: Annotated[
        int | None, typer.Option(help="The trial seed that searched, where there are several.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the new sweep. Default: the search's, with -reseeded.")] = None,
    output: Annotated[Path | None, typer.Option(help="Sweep file to write. Default: NAME.yaml here.")] = None,
    selection: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Select the winners by this. Default: the sweep's first.")
    ] = None,
    select_from: Annotated[
        str | None, typer.Option(metavar="any|after-window", help="The steps that may be selected.")
    ] = None,
) -> None:
    """Write the sweep file that trains the winners of one trial seed on others: the search is paid for once."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.planning.stored import read_plan
    from gga_sweep.report.chosen import reseeded_name, reseeded_sweep
    from gga_sweep.report.content import ReportOptions, make_report

    plan = read_plan(folder)
    options = ReportOptions(() if selection is None else (selection,), select_from)
    found = make_report(plan, Ledger(folder), options)
    seeds = whole_numbers("--trial-seeds", trial_seeds)
    text = reseeded_sweep(plan.sweep, found.view, found.table, seeds, from_seed=from_seed, name=name)
    path = output or Path(f"{name or reseeded_name(plan.sweep)}.yaml")
    write(text, path)
    out.print(f"Run it with: gga-sweep run {shlex.quote(str(path))}", soft_wrap=True)


def ui(
    folder: Folder,
    tracking_uri: TrackingURI = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="On the loopback interface.")] = 5000,
) -> None:
    """Open MLflow's page on the store of a sweep. Serves on 127.0.0.1 only, until interrupted."""
    from gga_sweep.planning.stored import read_plan
    from gga_sweep.tracking.page import serve_page

    serve_page(read_plan(folder).sweep, tracking_uri, port, lambda line: out.print(line, soft_wrap=True))


def _print_outcome(sweep: Sweep, result: SweepResult) -> None:
    from gga_sweep.report.wording import run_in_words

    for failure in result.failed:
        err.print(f"Failed: {run_in_words(failure)}: {failure.reason}")
    out.print()
    out.print(f"Page:    {result.paths['html']}", soft_wrap=True)
    out.print(f"Ledger:  {result.ledger.folder}", soft_wrap=True)
    out.print(f"MLflow:  gga-sweep ui {shlex.quote(str(result.ledger.folder))}{_uri_flag(sweep)}", soft_wrap=True)


def _uri_flag(sweep: Sweep) -> str:
    from gga_sweep.tracking.location import redact

    return "" if sweep.tracking_uri is None else f" --tracking-uri {shlex.quote(redact(sweep.tracking_uri))}"


def _price_picture(planned: Plan, ledger: Ledger, states: Mapping[str, RunState], calibrate: bool) -> RenderableType:
    from gga_sweep.planning.price import price_of, runs_at_once
    from gga_sweep.report.price import UNKNOWN, ledger_price, price_picture

    sweep = planned.sweep
    if calibrate:
        from gga_sweep.training.calibration import calibrate as measure

        configs = [run.config for run in planned.runs]
        costs = measure(configs, sweep.dataset, sweep.config.resources.gpus, err.print)
        price = price_of(planned, costs, states)
    else:
        found = ledger_price(planned, ledger, states)
        if found is None:
            return UNKNOWN
        price = found
    cpus, gpus = float(os.cpu_count() or 1), float(sweep.config.resources.gpus > 0)
    return price_picture(price, runs_at_once(sweep.config.resources, sweep.training.threads, cpus, gpus))
