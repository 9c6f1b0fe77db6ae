"""Commands that show the plan of a sweep file, and write a sweep file from selected runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

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


def plan(
    file: SweepFile,
    overrides: Overrides = [],  # noqa: B006
    storage: Storage = DEFAULT_STORAGE,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure the price by training a few steps on this machine.")
    ] = False,
) -> None:
    """Show the runs of a sweep, its cells, devices and price. Trains none of the runs."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.report.plan_price import price_pictures
    from gga_sweep.report.status import plan_picture, read_states
    from gga_sweep.spec import Plan, outline_sweep, plan_sweep, read_contents

    sweep = load_sweep(file, overrides, storage, None)
    planned = plan_sweep(sweep, read_contents(sweep)) if sweep.dataset.available else outline_sweep(sweep)
    ledger = Ledger(sweep.folder)
    states = read_states(planned, ledger) if isinstance(planned, Plan) else {}
    out.print(plan_picture(planned, states))
    for picture in price_pictures(planned, ledger, states, err.print if calibrate else None):
        out.print()
        out.print(picture)


def reseed(
    folder: Folder,
    trial_seeds: Annotated[str, typer.Option(metavar="SEEDS", help="Trial seeds to train on, e.g. 1-4 or 1,2,7.")],
    from_seed: Annotated[
        int | None, typer.Option(help="The trial seed whose winners are used, if the sweep has several.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the new sweep. Default: that of the old sweep, with -reseeded.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Sweep file to write. Default: NAME.yaml here.")] = None,
    selection: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Selection method for the winners. Default: the sweep's first.")
    ] = None,
    select_from: Annotated[
        str | None, typer.Option(metavar="any|after-window", help="The steps that may be selected.")
    ] = None,
) -> None:
    """Write a sweep file that trains the winners of one trial seed on others, without another search."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.report.chosen import reseeded_name, reseeded_sweep
    from gga_sweep.report.make_report import ReportOptions, make_report

    plan = read_plan(folder)
    options = ReportOptions(() if selection is None else (selection,), select_from)
    found = make_report(plan, Ledger(folder), options)
    seeds = whole_numbers("--trial-seeds", trial_seeds)
    text = reseeded_sweep(plan.sweep, found.view, found.table, seeds, from_seed=from_seed, name=name)
    path = output or Path(f"{name or reseeded_name(plan.sweep)}.yaml")
    write(text, path)
    out.print(f"Run it with: gga-sweep run {shlex.quote(str(path))}", soft_wrap=True)
