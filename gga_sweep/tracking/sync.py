"""A ledger projected into a store at any time, by the thread that does so during a launch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gga_sweep.ledger.lease import LAUNCHES, live_holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.selection import Table
from gga_sweep.spec.plan import Plan
from gga_sweep.tracking.projector import Projector
from gga_sweep.tracking.store import open_store

if TYPE_CHECKING:
    from gga_sweep.tracking.mlflow_api import MlflowClient


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync came to.

    Args:
        runs: that MLflow now shows; one that stands in two arms counts twice.
        new: of those, were not there.
        updated: of those, were there and lacked something.
        points: of metrics, sent; those that were sent twice because an answer was lost count twice, and stand once.
        outside: runs of the ledger that are not in its plan (of a user's own searcher, or of a longer plan), and that
            therefore cannot be placed.
        lacking: what MLflow does not show, in words; empty where it shows everything.
    """

    runs: int
    new: int
    updated: int
    points: int
    outside: int = 0
    lacking: str = ""


def sync(
    plan: Plan,
    ledger: Ledger,
    uri: str,
    table: Table | None = None,
    artifacts: Sequence[str] = (),
    *,
    timeout: float = 600.0,
    heard: Callable[[int], object] = lambda left: None,
    retry_after: float = 2.0,
    settle: float = 10.0,
    connect: Callable[[str], MlflowClient] = open_store,
) -> SyncResult:
    """Show in MLflow what the ledger holds, whatever MLflow shows now. Doing it again changes nothing.

    The ledger stays as it is. Where no launch works on it, what a launch left under way is shown as KILLED.

    Args:
        plan: its runs are shown.
        uri: from `resolve_tracking_uri`.
        table: winners and summaries are taken from it.
        artifacts: names of files in the sweep's folder, to hang on the parent run.
        timeout: seconds, in which a store that is away or slow is waited for.
        heard: called with the number of things left to do, after each.
        retry_after, settle, connect: as of a `Projector`.

    Raises:
        SweepOwnedError: another process projects this ledger into this store, and brings it up to date.
        StorageError: the ledger cannot be read or written.
    """
    live = live_holder(ledger.store, LAUNCHES) is not None
    present = ledger.run_names()
    headers = [*ledger.read_headers(present)]
    with Projector(
        plan,
        ledger,
        uri,
        require_turn=True,
        live=live,
        start_time=min((header.start_time for header in headers if header is not None), default=time.time()),
        meanwhile="it is tried again",
        heard=heard,
        retry_after=retry_after,
        settle=settle,
        connect=connect,
    ) as projector:
        lacking = projector.finish(timeout, table, artifacts)
    tally = projector.tally
    return SyncResult(
        runs=projector.shown,
        new=len(tally.new),
        updated=len(tally.changed - tally.new),
        points=tally.points,
        outside=len(set(present) - {run.folder for run in plan.runs}),
        lacking=projector.in_words(lacking) if lacking else "",
    )
