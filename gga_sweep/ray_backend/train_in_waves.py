"""Trains what is left of a plan in waves: all runs first, then again those that need a device of their own."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import ray

from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import PREFIXES, delete_prefixes
from gga_sweep.process_state import imported_meanwhile
from gga_sweep.ray_backend.cluster import joined_cluster
from gga_sweep.ray_backend.gpu_sharing import measured_share
from gga_sweep.ray_backend.launch import Launch
from gga_sweep.ray_backend.readiness import require_ready
from gga_sweep.records import FINAL, RunState
from gga_sweep.report.launch_display import Display, outlook
from gga_sweep.report.waiting import waiting
from gga_sweep.scheduling.estimate import Estimate, runs_at_once
from gga_sweep.scheduling.launch_progress import LaunchProgress
from gga_sweep.scheduling.next_runs import NextRuns, RunSource
from gga_sweep.scheduling.planned_runs import PlannedRuns, longest_first
from gga_sweep.scheduling.prefix_sharing import PrefixSharing
from gga_sweep.scheduling.remaining import Remaining
from gga_sweep.scheduling.shared_steps import inherited_steps
from gga_sweep.spec import PlannedRun, SweepSpec
from gga_sweep.spec.adaptive_search import needs_order, open_ended_arms, unsuggested_runs

if TYPE_CHECKING:  # it imports PyTorch and Tune, for which the start of Ray need not wait
    from gga_sweep.ray_backend.wave import Wave

_MEANWHILE = ("torch", "pandas")
"""Imported while Ray starts its processes: what takes longest of a wave's imports, and is none of Ray's own modules."""

_STOP_SECONDS = 25.0
"""What a gentle stop may take without the head, which was missed 20 s ago: Ray ends the process after 60 s."""

_INTERRUPTED = 3
"""The exit code of an interrupted launch."""


def train(work: Remaining, launch: Launch) -> None:
    """Train what is left of a plan, wave after wave, until nothing is left or the lease has a reason to stop.

    Raises:
        InputError: the cluster cannot train it.
        GGASweepError: there is no Ray cluster at the address, or it was lost.
    """
    options, console = launch.options, launch.console
    progress = _progress_of(work, options)
    on_lost = partial(_stop_without_head, launch, Ledger(work.plan.sweep.folder))
    with ExitStack() as stack:
        with waiting(console, "Joining the Ray cluster" if options.address else "Starting Ray"):
            with imported_meanwhile(*_MEANWHILE):
                dashboard = stack.enter_context(joined_cluster(options.address, options.dashboard, on_lost))
            require_ready(work.plan.sweep)
            plan = measured_share(work.plan, [run.config for run in work.left.values() or work.plan.runs])
        if dashboard is not None:
            console.print(f"Ray:     {dashboard}", highlight=False, markup=False, soft_wrap=True)
        resources, cluster = plan.sweep.config.resources, ray.cluster_resources()
        progress.concurrent = runs_at_once(
            resources, cluster.get("CPU", 1), cluster.get("GPU", 0), options.max_concurrent
        )
        console.print(outlook(progress), highlight=False)
        with Display(progress, console), launch.signals.gentle():
            _Waves(replace(work, plan=plan), launch, progress).train()
        if launch.lease.reason is None:
            store = Ledger(plan.sweep.folder).store
            delete_prefixes(store)
            for folder in (PREFIXES, *(f"runs/{run.folder}" for run in progress.runs.values())):
                store.remove_empty(folder)
        with imported_meanwhile("gga_sweep.report.html"):  # Matplotlib, while Ray ends its processes
            stack.close()


def _stop_without_head(launch: Launch, ledger: Ledger, reason: str, ended: threading.Event) -> None:
    """Stop a launch whose cluster has lost its head, before Ray ends this process.

    The actors still train, and stop when they read the request. Tune may wait for the head without end.
    """
    launch.console.print(f"Stopping: {reason}.", highlight=False, markup=False, soft_wrap=True)
    launch.lease.ask(reason)
    from gga_sweep.ray_backend.wave import mark_stopped

    if ended.wait(_STOP_SECONDS):
        return
    mark_stopped(ledger, launch.lease, ledger.run_names())
    launch.lease.release()
    launch.console.print("Stopped. Launch again to continue.", highlight=False, markup=False)
    os._exit(_INTERRUPTED)


class _Waves:
    """The waves of a launch.

    Args:
        work: its sweep has the resources of the first waves.
    """

    def __init__(self, work: Remaining, launch: Launch, progress: LaunchProgress) -> None:
        self._work, self._launch, self._progress = work, launch, progress
        self._sweep = work.plan.sweep
        self._ledger = Ledger(self._sweep.folder)
        self._max_concurrent = launch.options.max_concurrent or self._sweep.config.resources.max_concurrent

    def train(self) -> None:
        alone = self._train_in_order() if needs_order(self._sweep.config) else self._train_in_any_order()
        while alone and not self._stops:
            wave = self._wave(alone)
            alone = wave.train(_with_whole_devices(self._sweep), max_concurrent=1).resumable

    @property
    def _stops(self) -> bool:
        return self._launch.lease.reason is not None

    def _train_in_any_order(self) -> dict[str, PlannedRun]:
        """Train all that is left; returns the runs that may succeed on a device of their own."""
        left, alone = dict(self._work.left), dict[str, PlannedRun]()
        while left and not self._stops:
            sharing = self._prefix_sharing(left)
            if sharing is None:
                wave = self._wave(left)
            else:
                wave = self._wave({}, PlannedRuns(left, self._progress.expected, sharing, self._ledger))
            outcome = wave.train(self._sweep, self._max_concurrent)
            left = {key: run for key, run in left.items() if key in outcome.resumable or key not in wave.runs}
            alone |= outcome.curable
        return alone

    def _train_in_order(self) -> dict[str, PlannedRun]:
        """Train runs that depend on the results of others. A cell goes on without its failed runs; returns as above."""
        alone, given_up = dict[str, PlannedRun](), set[str]()
        while not self._stops:
            sharing = self._prefix_sharing(())
            source = NextRuns(self._sweep, self._work.contents, self._ledger, given_up, sharing)
            if source.exhausted:
                self._progress.unsuggested = 0  # of equal suggestions one was trained
                break
            wave = self._wave({}, source)
            outcome = wave.train(self._sweep, self._max_concurrent)
            alone |= outcome.curable
            states = self._ledger.read_states(run.folder for run in wave.runs.values())
            given_up |= {
                key
                for key, run in wave.runs.items()
                if key not in outcome.resumable and states[run.folder].status not in FINAL
            }
        return alone

    def _wave(self, runs: Mapping[str, PlannedRun], source: RunSource | None = None) -> Wave:
        from gga_sweep.ray_backend.wave import Wave

        return Wave(self._work, self._launch, self._progress, runs, source)

    def _prefix_sharing(self, left: Collection[str]) -> PrefixSharing | None:
        """For the runs of the plan; None where they have no steps in common, or each trains its own."""
        if self._launch.options.unshared:
            return None
        plan, present = self._work.plan, self._ledger.store.list(PREFIXES)
        sharing = PrefixSharing(self._work.contents, present, open_ended_arms(plan))
        for run in plan.runs:
            sharing.add(run, waits=run.key in left)
        return sharing if present or sharing.has_shared else None


def _progress_of(work: Remaining, options: LaunchOptions) -> LaunchProgress:
    return LaunchProgress(
        {run.key: run for run in work.plan.runs},
        work.final,
        unsuggested=unsuggested_runs(work.plan),
        estimate=work.estimate,
        expected=_expected(work.left, work.states, work.estimate, options),
    )


def _expected(
    left: Mapping[str, PlannedRun],
    states: Mapping[str, RunState],
    estimate: Estimate,
    options: LaunchOptions,
) -> dict[str, float]:
    """What is left of each run, less what others train for it."""
    trained = {key: states.get(run.folder, RunState()).step + 1 for key, run in left.items()}
    expected = {key: estimate.total(run.config, trained[key]) for key, run in left.items()}
    if options.unshared:
        return expected
    keys = longest_first(expected)
    inherited = dict(zip(keys, inherited_steps(left[key].config for key in keys), strict=True))
    return {key: estimate.total(run.config, max(trained[key], inherited[key])) for key, run in left.items()}


def _with_whole_devices(sweep: SweepSpec) -> SweepSpec:
    """The sweep with a whole device for each run, which may prevent that it runs out of memory."""
    resources = sweep.config.resources
    whole = resources.model_copy(update={"gpus": 1.0 if resources.on_gpu else 0.0, "max_concurrent": 1})
    return replace(sweep, config=sweep.config.model_copy(update={"resources": whole}))
