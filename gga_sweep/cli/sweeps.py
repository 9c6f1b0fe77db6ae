"""Commands that tell what a sweep file means, and make one of what a sweep selected."""

from __future__ import annotations

import math
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
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.records import RunState
    from gga_sweep.scheduling.price import Price
    from gga_sweep.spec import Outline
    from gga_sweep.spec.models import RunSpec


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
    from gga_sweep.report.status import plan_picture, read_states
    from gga_sweep.spec import Plan, outline_sweep, plan_sweep, read_contents

    sweep = load_sweep(file, overrides, storage, None)
    planned = plan_sweep(sweep, read_contents(sweep)) if sweep.dataset.available else outline_sweep(sweep)
    ledger = Ledger(sweep.folder)
    states = read_states(planned, ledger) if isinstance(planned, Plan) else {}
    out.print(plan_picture(planned, states))
    for picture in _price_pictures(planned, ledger, states, calibrate):
        out.print()
        out.print(picture)


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
    from gga_sweep.ledger.stored_sweep import read_plan
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


def _price_pictures(
    planned: Outline, ledger: Ledger, states: Mapping[str, RunState], calibrate: bool
) -> Iterator[RenderableType]:
    """The price, where it is known, and what the sweep has to do with and without what saves work."""
    from gga_sweep.datasets.image_folder import decoding_seconds
    from gga_sweep.report.price import UNKNOWN, done_results, ledger_price, price_picture
    from gga_sweep.report.savings import savings_picture
    from gga_sweep.scheduling.cost_model import learned_costs
    from gga_sweep.scheduling.expected_ends import expected_ends
    from gga_sweep.scheduling.price import price_of, run_seconds, runs_at_once
    from gga_sweep.scheduling.savings import SecondsFrom, savings_of
    from gga_sweep.spec import Plan
    from gga_sweep.training.unit_costs import holds_photographs

    sweep = planned.sweep
    seconds_from: SecondsFrom | None = None
    decoding: float | None = None
    price: Price | None = None
    if calibrate:
        from gga_sweep.training.calibration import calibrate as measure

        configs = [run.config for run in planned.runs]
        costs = measure(configs, sweep.dataset, sweep.config.resources.on_gpu, err.print)
        price = price_of(planned, costs, states)
        root = sweep.config.dataset.root
        if root is not None and sweep.dataset.available and holds_photographs(sweep.config.dataset.name):
            decoding = decoding_seconds(root, sweep.dataset.image_shape[-1])

        def seconds_from(config: RunSpec, trained: int) -> float:
            return math.fsum(run_seconds(config, sweep.dataset, costs, trained).values())

    elif isinstance(planned, Plan):
        done = done_results(planned, ledger, states)
        price = ledger_price(planned, ledger, states, done)
        if price is not None:
            seconds_from = learned_costs(planned, done).total
    cpus, gpus = float(os.cpu_count() or 1), float(sweep.config.resources.on_gpu)
    at_once = runs_at_once(sweep.config.resources, sweep.training.threads, cpus, gpus)
    yield UNKNOWN if price is None else price_picture(price, at_once)
    yield savings_picture(savings_of(planned, seconds_from, expected_ends(sweep), decoding), planned)
