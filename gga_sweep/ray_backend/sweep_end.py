"""The end of a sweep, in a launch and in a user's own Tuner: its report is written, and tracking is closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.process_state import collection_paused
from gga_sweep.report.files import link_page, write_report
from gga_sweep.report.make_report import Report, make_report
from gga_sweep.spec import Plan
from gga_sweep.spec.location import Location
from gga_sweep.tracking.projector import Projector

CLOSE_SECONDS = 60.0
"""How long the end of a sweep waits for a tracking server; the next launch adds what is missing then."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a sweep's end leaves.

    Args:
        paths: the report's files, by format.
        tracked: whether MLflow shows everything.
    """

    report: Report
    paths: Mapping[str, Location]
    tracked: bool


@collection_paused()  # a quarter of the time of a short end: it imports MLflow and plots
def end_sweep(plan: Plan, ledger: Ledger, projector: Projector) -> Ending:
    """Write the report, show the outcome in MLflow, close the projector, and link the page to MLflow."""
    report = make_report(plan, ledger)
    paths = write_report(report, ledger)
    tracked = projector.close(CLOSE_SECONDS, report, [path.name for path in paths.values()])
    link_page(ledger, projector.pages)
    return Ending(report, paths, tracked)
