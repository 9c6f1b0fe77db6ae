"""The command that tells whether a cluster can train sweeps, and what to do where it cannot."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from gga_sweep.cli.console import (
    DEFAULT_STORAGE,
    FAILED,
    Address,
    Overrides,
    Storage,
    TrackingURI,
    err,
    load_sweep,
    out,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gga_sweep.ray_backend.diagnosis import Finding


def doctor(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE|NAME]", help="A sweep, for its images and its resources too.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    address: Address = None,
    tracking_uri: TrackingURI = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Check a cluster from each node: versions, storage, images, disk, devices, clocks; and MLflow from here."""
    from gga_sweep.execution.prepare import require_writable
    from gga_sweep.ray_backend.cluster import joined_cluster
    from gga_sweep.ray_backend.diagnosis import Level, diagnose, tracking_finding
    from gga_sweep.ray_backend.nodes import ask_every_node, installed_versions
    from gga_sweep.scheduling.price import decoded_bytes
    from gga_sweep.spec.location import as_location
    from gga_sweep.tracking.location import resolve_tracking_uri
    from gga_sweep.tracking.store import why_unusable

    sweep = None if file is None else load_sweep(file, overrides, storage, tracking_uri)
    place = as_location(storage).absolute() if sweep is None else sweep.storage
    uri = resolve_tracking_uri(place, tracking_uri, os.environ)
    require_writable(place)
    with joined_cluster(address):
        on_gpu = sweep is None or sweep.config.resources.on_gpu
        nodes = ask_every_node(place, None if sweep is None else sweep.config.dataset, gpus=on_gpu)
    findings = diagnose(
        nodes,
        installed_versions(),
        place,
        None if sweep is None else sweep.config.resources,
        None if sweep is None else sweep.dataset.domain_sizes,
        0 if sweep is None else decoded_bytes(sweep.dataset, sweep.config.dataset.name),
    )
    findings.append(tracking_finding(uri, why_unusable(uri), len(nodes)))
    _print(findings)
    faults = sum(found.level is Level.FAULT for found in findings)
    if faults:
        err.print(f"{faults} of {len(findings)} checks failed.")
        raise typer.Exit(FAILED)


def _print(findings: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "note": "yellow", "FAULT": "bold red"}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for found in findings:
        said = f"{found.said}. {found.remedy}" if found.remedy else found.said
        table.add_row(Text(found.level, styles[found.level]), found.check, found.where, Text(said))
    out.print(table)
