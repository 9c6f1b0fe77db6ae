"""A sweep with an invented ledger, shown in a store in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from invented_ledger import finish, invented_report, show
from memory_store import LATE_SECONDS, MemoryStore
from stores import content_of

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.report.make_report import Report
from gga_sweep.spec import Plan, PlannedRun
from gga_sweep.tracking import names
from gga_sweep.tracking.projection import Projection
from gga_sweep.tracking.projector import Pace, Projector

SERVER = "http://me:secret@host:5000"
QUICK = Pace(gather=0.0, retry_after=2 * LATE_SECONDS)

Faults = Iterator[str | None]


class TrackedSweep:
    """One ledger and one store, for any number of launches one after the other."""

    def __init__(self, plan: Plan, store: MemoryStore) -> None:
        self.plan = plan
        self.store = store
        self.ledger = Ledger(plan.sweep.folder)

    def open(self, faults: Faults | None = None, plan: Plan | None = None, **options: Any) -> Projection:
        """A projection, as the thread of a launch makes it. The store fails as `faults` say."""
        return Projection(self.store.connect(faults=faults), (plan or self.plan).sweep, self.ledger, **options)

    def project(self, *runs: PlannedRun, projection: Projection | None = None, **options: Any) -> Projection:
        """What the ledger holds of these runs, by a new projection or by one that was returned before."""
        projection = projection or self.open(**options)
        for run in runs:
            show(projection, run, self.ledger)
        return projection

    def projector(self, faults: Faults | None = None, **options: Any) -> Projector:
        settings = {"pace": QUICK, "connect": lambda uri: self.store.connect(faults=faults), **options}
        return Projector(self.plan, self.ledger, settings.pop("uri", SERVER), **settings)

    def finish_all(self) -> None:
        for run in self.plan.runs:
            finish(self.ledger, run)

    def finish(self, *runs: PlannedRun, status: RunStatus = RunStatus.DONE) -> None:
        for run in runs:
            finish(self.ledger, run, status)

    @property
    def report(self) -> Report:
        return invented_report(self.plan, self.ledger)

    @property
    def content(self) -> dict[str, Any]:
        """All that the store shows; see `content_of`."""
        return content_of(self.store.connect(), self.plan.sweep.folder, volatile=True)

    def runs(self, role: str, **tags: str) -> list[SimpleNamespace]:
        """The runs in the store, of a role and with these tags of ours, deleted ones apart."""
        wanted = {"role": role, **tags}.items()
        return [
            run
            for run in self.store.runs.values()
            if run.lifecycle_stage == "active"
            and all(run.tags.get(names.PREFIX + name) == value for name, value in wanted)
        ]

    def ids(self, role: str) -> list[str]:
        return [run.run_id for run in self.runs(role)]

    def child(self, run: PlannedRun) -> SimpleNamespace:
        [child] = self.runs("run", arm=run.cell.arm, key=run.key)
        return child

    def points(self, run: PlannedRun) -> dict[str, list[tuple[int, float, int]]]:
        """Of every metric: step, value, timestamp."""
        points: dict[str, list[tuple[int, float, int]]] = {}
        for key, step, timestamp, value in sorted(self.child(run).points):
            points.setdefault(key, []).append((step, value, timestamp))
        return points

    def forget_children(self) -> None:
        """As if none had ever been in the store."""
        for run in [*self.store.runs.values()]:
            if run.tags[names.ROLE] != "sweep":
                del self.store.runs[run.run_id]

    @property
    def all_deleted(self) -> int:
        """How many runs were deleted."""
        return sum(run.lifecycle_stage == "deleted" for run in self.store.runs.values())


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
