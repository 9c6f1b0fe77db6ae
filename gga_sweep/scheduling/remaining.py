"""The unfinished runs of a plan, which a launch trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import LEFT_RUNNING
from gga_sweep.ledger.stored_sweep import read_results
from gga_sweep.records import FINAL, RunState, RunStatus
from gga_sweep.scheduling.estimate import Estimate, estimate_from_runs
from gga_sweep.spec import Contents, Plan, PlannedRun
from gga_sweep.spec.adaptive_search import unsuggested_runs


@dataclass(frozen=True, slots=True)
class Remaining:
    """A plan, and its unfinished runs.

    Args:
        contents: digests that it was planned with.
        left: the runs to train, by key.
        final: statuses of the runs that need no training, by key.
        states: of the runs that were started, by folder.
        estimate: of how long the runs take.
    """

    plan: Plan
    contents: Contents
    left: Mapping[str, PlannedRun]
    final: Mapping[str, RunStatus]
    states: Mapping[str, RunState]
    estimate: Estimate

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to train, now or after later suggestions."""
        return not self.left and not unsuggested_runs(self.plan)


def find_remaining(plan: Plan, contents: Contents, ledger: Ledger) -> Remaining:
    """What is left of a plan after all launches so far; see `unfinished`."""
    results = read_results(plan, ledger)
    states = {name: result.state for name, result in results.items()}
    left, final = unfinished(plan, ledger, states)
    return Remaining(plan, contents, left, final, states, estimate_from_runs(plan, results))


def unfinished(
    plan: Plan, ledger: Ledger, states: Mapping[str, RunState]
) -> tuple[dict[str, PlannedRun], dict[str, RunStatus]]:
    """The runs that are left to train, and the statuses of those that are final, by key.

    Runs of a crashed launcher become PREEMPTED, and their actors may no longer write.

    Args:
        states: of the runs that were started, by folder.
    """
    left: dict[str, PlannedRun] = {}
    final: dict[str, RunStatus] = {}
    for run in plan.runs:
        if run.key in left or run.key in final:
            continue
        status = states[run.folder].status if run.folder in states else RunStatus.QUEUED
        if status in FINAL:
            final[run.key] = status
        else:
            left[run.key] = run
        if status is RunStatus.RUNNING:
            ledger.run(run.folder).mark(RunStatus.PREEMPTED, LEFT_RUNNING)
    return left, final
