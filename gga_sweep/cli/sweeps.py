"""Commands that tell what a sweep file means, and make one of what a sweep selected."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import (
    DEFAULT_STORAGE,
    Folder,
    Overrides,
    Storage,
    SweepFile,
    err,
    load_sweep,
    out,
    whole_numbers,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.run_folder import RunState
    from gga_sweep.planning import Plan


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


def _price_picture(planned: Plan, ledger: Ledger, states: Mapping[str, RunState], calibrate: bool) -> RenderableType:
    from gga_sweep.planning.price import price_of, runs_at_once
    from gga_sweep.report.price import UNKNOWN, ledger_price, price_picture

    sweep = planned.sweep
    if calibrate:
        from gga_sweep.training.calibration import calibrate as measure

        configs = [run.config for run in planned.runs]
        costs = measure(configs, sweep.dataset, sweep.config.resources.on_gpu, err.print)
        price = price_of(planned, costs, states)
    else:
        found = ledger_price(planned, ledger, states)
        if found is None:
            return UNKNOWN
        price = found
    cpus, gpus = float(os.cpu_count() or 1), float(sweep.config.resources.on_gpu)
    return price_picture(price, runs_at_once(sweep.config.resources, sweep.training.threads, cpus, gpus))
