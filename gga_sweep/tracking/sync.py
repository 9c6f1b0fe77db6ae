"""Show a ledger in an MLflow store at any time, by the thread that does so during a launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gga_sweep.ledger.lease import LAUNCHES, wait_for_heartbeat
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.spec.plan import Plan
from gga_sweep.tracking.projector import Pace, Projector
from gga_sweep.tracking.store import open_store

if TYPE_CHECKING:
    from gga_sweep.report.make_report import Report
    from gga_sweep.tracking.mlflow_api import MlflowClient


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync did.

    Args:
        runs: that MLflow now shows; a run in two arms counts twice.
        new: of those, were not shown before.
        updated: of those, were shown and not complete.
        points: metric values sent, repeated ones included.
        outside: runs of the ledger that are not in its plan, and so have no place: of a user's own searcher, or of a
            longer plan.
        missing: what MLflow does not show, as a sentence; empty if it shows everything.
        pages: the address of each run's page in MLflow, by folder.
    """

    runs: int
    new: int
    updated: int
    points: int
    outside: int = 0
    missing: str = ""
    pages: Mapping[str, str] = field(default_factory=dict, compare=False)


def sync(
    plan: Plan,
    ledger: Ledger,
    uri: str,
    report: Report | None = None,
    artifacts: Sequence[str] = (),
    *,
    timeout: float = 600.0,
    on_progress: Callable[[int], object] = lambda left: None,
    pace: Pace | None = None,
    connect: Callable[[str], MlflowClient] = open_store,
) -> SyncResult:
    """Show in MLflow what the ledger holds, whatever MLflow shows now. Repeating it changes nothing.

    The ledger stays as it is. If no launch works on it, unfinished runs are shown as KILLED.

    Args:
        plan: its runs are shown.
        uri: from `resolve_tracking_uri`.
        report: winners, summaries and descriptions are made from it.
        artifacts: names of files in the sweep's folder, to attach to the parent run.
        timeout: seconds to wait for a store that makes no progress.
        on_progress: called with the number of jobs left, after each.
        pace, connect: as of a `Projector`.

    Raises:
        SweepOwnedError: another process writes this ledger into this store, and brings it up to date.
        StorageError: the ledger cannot be read or written.
    """
    live = wait_for_heartbeat(ledger.store, LAUNCHES) is not None
    with Projector(
        plan, ledger, uri, require_ownership=True, live=live, on_progress=on_progress, pace=pace, connect=connect
    ) as projector:
        missing = projector.finish(timeout, report, artifacts)
    changes = projector.changes
    return SyncResult(
        runs=projector.shown,
        new=len(changes.written - changes.found),
        updated=len(changes.written & changes.found),
        points=changes.points,
        outside=len(set(ledger.run_names()) - {run.folder for run in plan.runs}),
        missing=projector.describe_missing(missing) if missing else "",
        pages=projector.pages,
    )
