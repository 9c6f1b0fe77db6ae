"""The command that checks whether a cluster can train sweeps, and prints remedies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, NamedTuple

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
    from collections.abc import Mapping, Sequence

    from gga_sweep.datasets.config import DatasetConfig
    from gga_sweep.execution.diagnosis import Finding
    from gga_sweep.spec import SweepSpec
    from gga_sweep.spec.models import ResourcesConfig


class _Needs(NamedTuple):
    """What a sweep requires of each node; by default, what can be checked without a sweep."""

    dataset: DatasetConfig | None = None
    images: Mapping[str, int] | None = None
    decoded_bytes: int = 0
    resources: ResourcesConfig | None = None
    gpus: bool = True


def doctor(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE|NAME]", help="A sweep: also checks its images and resources.")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    address: Address = None,
    tracking_uri: TrackingURI = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Check a cluster from each node: versions, storage, images, disk, devices, clocks; and MLflow from here."""
    from gga_sweep.execution.diagnosis import Level, diagnose
    from gga_sweep.execution.node_check import installed_versions, needed_packages
    from gga_sweep.execution.prepare import require_writable
    from gga_sweep.ray_backend.cluster import joined_cluster
    from gga_sweep.ray_backend.nodes import check_nodes
    from gga_sweep.spec.location import as_location
    from gga_sweep.tracking.store import why_unusable
    from gga_sweep.tracking.tracking_uri import resolve_tracking_uri

    sweep = None if file is None else load_sweep(file, overrides, storage, tracking_uri)
    packages = needed_packages(sweep)
    needs = _Needs() if sweep is None else _needs_of(sweep)
    place = as_location(storage).absolute() if sweep is None else sweep.storage
    uri = resolve_tracking_uri(place, tracking_uri, os.environ)
    require_writable(place)
    with joined_cluster(address):
        nodes = check_nodes(place, needs.dataset, needs.gpus, packages)
    findings = diagnose(nodes, installed_versions(packages), place, needs.resources, needs.images, needs.decoded_bytes)
    findings.append(tracking_finding(uri, why_unusable(uri), len(nodes)))
    _print(findings)
    faults = sum(found.level is Level.FAULT for found in findings)
    if faults:
        err.print(f"{faults} of {len(findings)} checks failed.")
        raise typer.Exit(FAILED)


def tracking_finding(uri: str, error: str | None, nodes: int) -> Finding:
    """Whether the MLflow store can be used. Only the launch writes to it.

    Args:
        uri: of MLflow.
        error: why it cannot be used from here, without credentials; None if it can.
        nodes: of the cluster.
    """
    from gga_sweep.execution.diagnosis import Finding, Level
    from gga_sweep.tracking.tracking_uri import SERVERS, redact, sqlite_path

    shown, path = redact(uri), sqlite_path(uri)
    if error is not None:
        remedy = "Start it, or set its address with --tracking-uri; `gga-sweep sync` updates it later."
        return Finding(Level.FAULT, "tracking", "this machine", f"{shown}: {error}", remedy)
    if path is not None and nodes > 1:
        text = f"{shown} is a file on this machine; other nodes cannot read it"
        remedy = "Always launch from this machine, or use a server: infra/mlflow."
        return Finding(Level.NOTE, "tracking", "this machine", text, remedy)
    state = "responds" if shown.partition("://")[0] in SERVERS else "can be opened"
    return Finding(Level.OK, "tracking", "this machine", f"{shown} {state}")


def _needs_of(sweep: SweepSpec) -> _Needs:
    from gga_sweep.datasets.registry import decoded_bytes

    dataset, resources = sweep.config.dataset, sweep.config.resources
    decoded = decoded_bytes(sweep.dataset, dataset.name)
    return _Needs(dataset, sweep.dataset.domain_sizes, decoded, resources, resources.on_gpu)


def _print(findings: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "note": "yellow", "FAULT": "bold red"}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for found in findings:
        text = f"{found.text}. {found.remedy}" if found.remedy else found.text
        table.add_row(Text(found.level, styles[found.level]), found.check, found.where, Text(text))
    out.print(table)
