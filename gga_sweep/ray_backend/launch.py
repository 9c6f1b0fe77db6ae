"""A launch: plan minus done is trained, tracked, selected from and reported."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rich.console import Console

from gga_sweep.execution.prepare import decode_images, prepare_ledger, require_writable
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import LEFT_RUNNING
from gga_sweep.ledger.stored_sweep import read_results
from gga_sweep.ledger.suggested import read_suggested
from gga_sweep.ray_backend.dashboard import check_dashboard
from gga_sweep.ray_backend.display import DecodingDisplay
from gga_sweep.ray_backend.options import LaunchOptions
from gga_sweep.ray_backend.result import SweepResult
from gga_sweep.ray_backend.signals import stop_signals
from gga_sweep.records import FINAL, RunState, RunStatus
from gga_sweep.report.content import make_report
from gga_sweep.report.files import write_report
from gga_sweep.scheduling.cost_model import learned_costs
from gga_sweep.spec import Plan, PlannedRun, Sweep, plan_sweep
from gga_sweep.spec.adaptive import is_adaptive, unsuggested_runs
from gga_sweep.tracking.location import redact, resolve_tracking_uri
from gga_sweep.tracking.projector import Projector

CLOSE_SECONDS = 60.0
"""How long the end of a sweep waits for a tracking server; what it lacks then, the next launch brings."""

START_SECONDS = 120.0
"""How long the tracking leaves the interpreter to the start of Ray and of the first run, unless one reports before."""


def run_sweep(sweep: Sweep, options: LaunchOptions | None = None, console: Console | None = None) -> SweepResult:
    """Train what is left of a sweep, track it, select, report. Launching again continues.

    Args:
        sweep: from `gga_sweep.load`.
        options: how.
        console: where progress is shown; None shows none.

    Returns:
        The runs with their records, and what was selected.

    Raises:
        InputError: bad input, a dashboard that cannot be had among it, before any run starts.
        SweepOwnedError: another live launch owns the sweep.
        GGASweepError: no Ray cluster at the address, or it was lost; or tracking required and not there.
        StorageError: the ledger cannot be read or written.
    """
    options = options or LaunchOptions()
    console = console or Console(quiet=True)
    uri = resolve_tracking_uri(sweep.storage, sweep.tracking_uri, os.environ)
    check_dashboard(options, os.environ)
    require_writable(sweep.storage)
    ledger = Ledger(sweep.folder)
    with held(ledger.store, take_over=options.take_over) as lease, stop_signals(lease) as signals:
        contents = prepare_ledger(sweep, options.allow_change)
        plan = plan_sweep(sweep, contents, read_suggested(ledger))
        results = read_results(plan, ledger)
        states = {name: result.state for name, result in results.items()}
        left, final = unfinished(plan, ledger, states)
        costs = learned_costs(plan, results)
        to_train = bool(left) or unsuggested_runs(plan) > 0
        if to_train:
            with DecodingDisplay(console) as decoding:
                decode_images(sweep, decoding.show)
        with Projector(plan, ledger, uri, require_tracking=options.require_tracking, lull=START_SECONDS) as projector:
            if to_train:
                from gga_sweep.ray_backend.waves import train  # with nothing left to train, Ray is not even imported

                train(plan, contents, left, final, states, costs, projector, lease, signals, options, console)
                if is_adaptive(sweep.config):
                    plan = plan_sweep(sweep, contents, read_suggested(ledger))
            report = make_report(plan, ledger)
            paths = write_report(report, ledger)
            tracked = projector.close(CLOSE_SECONDS, report.table, [path.name for path in paths.values()])
            return SweepResult(plan, ledger, report, paths, redact(uri), tracked, lease.reason)


def unfinished(
    plan: Plan, ledger: Ledger, states: Mapping[str, RunState]
) -> tuple[dict[str, PlannedRun], dict[str, RunStatus]]:
    """The runs of the plan that are left to train, by key, and the statuses of those that are final.

    A run that its launch left without a word becomes PREEMPTED, which also outdates whoever may still train it.

    Args:
        states: by folder, of the runs that were started.
    """
    left: dict[str, PlannedRun] = {}
    final: dict[str, RunStatus] = {}
    for run in plan.runs:
        if run.key is None or run.folder is None or run.key in left or run.key in final:
            continue
        status = states[run.folder].status if run.folder in states else RunStatus.QUEUED
        if status in FINAL:
            final[run.key] = status
        else:
            left[run.key] = run
        if status is RunStatus.RUNNING:
            ledger.run(run.folder).mark(RunStatus.PREEMPTED, LEFT_RUNNING)
    return left, final
