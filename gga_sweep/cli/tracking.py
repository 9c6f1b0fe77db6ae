"""Commands on a sweep in MLflow: update it, serve its page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import FAILED, Folder, TrackingURI, bad_input, err, out
from gga_sweep.errors import InputError

if TYPE_CHECKING:
    from gga_sweep.ledger.ledger import Ledger


def sync(
    folder: Folder,
    tracking_uri: TrackingURI = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for a server that makes no progress.")] = 600.0,
) -> None:
    """Update a sweep in MLflow from its folder. Running it again changes nothing."""
    from rich.progress import Progress

    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan, read_present_plan
    from gga_sweep.report.files import link_page, write_report
    from gga_sweep.report.make_report import make_report
    from gga_sweep.report.wording import count
    from gga_sweep.tracking.sync import sync as bring_up_to_date
    from gga_sweep.tracking.tracking_uri import redact, resolve_tracking_uri

    plan, ledger = read_plan(folder), Ledger(folder)
    _require_writable(ledger)
    uri = resolve_tracking_uri(plan.sweep.storage, tracking_uri, os.environ)
    report = make_report(plan, ledger)
    paths = write_report(report, ledger)
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(f"MLflow at {redact(uri)}", total=None)

        def progressed(left: int) -> None:
            total = max(left, progress.tasks[0].total or 0)
            progress.update(task, total=total, completed=total - left)

        result = bring_up_to_date(
            read_present_plan(folder),
            ledger,
            uri,
            report,
            [path.name for path in paths.values()],
            timeout=timeout,
            on_progress=progressed,
        )
    link_page(ledger, result.pages)
    changes = f"{result.new} new, {result.updated} updated, {count(result.points, 'point')} written"
    if result.runs or not result.missing:
        out.print(f"MLflow at {redact(uri)} shows {count(result.runs, 'run')}: {changes}", soft_wrap=True)
    if result.outside:
        out.print(f"Not shown: {count(result.outside, 'run')} outside the sweep's plan", soft_wrap=True)
    if result.missing:
        err.print(f"{result.missing}; run `gga-sweep sync` again")
        raise typer.Exit(FAILED)


def _require_writable(ledger: Ledger) -> None:
    from gga_sweep.execution.prepare import require_writable

    try:
        require_writable(ledger.folder)
    except InputError as error:
        rule = "must be writable, as it holds MLflow's artifacts and the lease of their writer: sync a copy of it"
        raise bad_input("DIR", rule, str(ledger.folder)) from error


def ui(
    folder: Folder,
    tracking_uri: TrackingURI = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Any other than the loopback interface is open to others; prints a warning."
        ),
    ] = "127.0.0.1",
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Serve MLflow's page on the store of a sweep until interrupted, on 127.0.0.1 by default."""
    from gga_sweep.ledger.ledger import Ledger
    from gga_sweep.ledger.stored_sweep import read_plan
    from gga_sweep.tracking.page import serve_page

    read_plan(folder)  # raises if it is no sweep's folder
    ledger = Ledger(folder)
    serve_page(
        ledger.folder, tracking_uri, port, lambda line: out.print(line, soft_wrap=True), host, open_page=open_page
    )
