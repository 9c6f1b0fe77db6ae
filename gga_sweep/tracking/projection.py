"""A ledger shown in MLflow: one experiment a sweep name, one parent run a sweep, one child a run and arm.

MLflow is a view. A child is deleted and logged anew from the ledger where it may not show what the ledger holds:

- its tags do not agree with the ledger, because the process that logged it died, or the ledger went on without it;
- a request for it failed, which may have been carried out all the same;
- the ledger trained the run again, with other results or under a new start time.

`mlflow gc` removes deleted runs for good.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from gga_sweep.errors import DamagedFileError
from gga_sweep.ledger.json_codec import digest, parse_measurements
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import LEFT_RUNNING
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.records import FINAL, RunResult, RunState, RunStatus
from gga_sweep.spec.plan import PlannedRun, SweepSpec
from gga_sweep.spec.yaml_text import write_yaml
from gga_sweep.tracking import names
from gga_sweep.tracking.changes import Changes, Place
from gga_sweep.tracking.datasets import dataset_inputs
from gga_sweep.tracking.descriptions import provenance, run_params, run_tags, sweep_tags
from gga_sweep.tracking.experiment import find_or_create_experiment
from gga_sweep.tracking.mlflow_api import MlflowClient
from gga_sweep.tracking.notes import is_ours, run_note, sweep_note
from gga_sweep.tracking.points import run_points, system_points
from gga_sweep.tracking.tracked_run import TrackedRun, create_run, find_runs, update_run
from gga_sweep.tracking.views import write_views

if TYPE_CHECKING:
    from gga_sweep.report.make_report import Report

MLFLOW_STATUS = {
    RunStatus.QUEUED: "RUNNING",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.DONE: "FINISHED",
    RunStatus.DIVERGED: "FINISHED",
    RunStatus.STOPPED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.OUT_OF_MEMORY: "FAILED",
    RunStatus.PREEMPTED: "KILLED",
}


class Projection:
    """One sweep's runs in one MLflow store. Making it finds them, and finds or creates experiment and parent.

    Args:
        client: of the store; used from one thread.
        sweep: what is shown.
        ledger: of its runs; its folder names the experiment and has the artifacts.
        live: whether a launch works on the ledger now. If none does, unfinished runs are shown as KILLED. May be
            changed later.
        changes: counts what is written.

    Raises:
        GGASweepError: experiments of other sweeps have all names that this one could have.
        Exception: anything that MLflow, its server or its database raise.
    """

    def __init__(
        self, client: MlflowClient, sweep: SweepSpec, ledger: Ledger, live: bool = True, changes: Changes | None = None
    ) -> None:
        self.client = client
        self.sweep = sweep
        self.ledger = ledger
        self.live = live
        self.experiment_id = find_or_create_experiment(client, ledger.folder)
        self.runs: dict[Place, TrackedRun] = {}
        self._in_doubt: set[Place] = set()
        self._changes = Changes() if changes is None else changes
        self._ledger_id = _ledger_id(ledger)
        self.provenance = provenance(ledger)
        """Tags of every run when it is created: who logged it, from which source."""
        self.parent = self._sole_parent()
        for run in find_runs(client, self.experiment_id, self.tags_of("run")):
            self._add_found(run)

    @property
    def common_tags(self) -> dict[str, str]:
        """Of every run below the parent."""
        return {names.PARENT: self.parent.run_id, names.LEDGER: self._ledger_id}

    def tags_of(self, role: str) -> dict[str, str]:
        """Finds the runs of this ledger in the store: `sweep` (the parent), `run` or `summary`."""
        return {names.LEDGER: self._ledger_id, names.ROLE: role}

    def is_complete(self, run: PlannedRun) -> bool:
        """Whether MLflow shows a final run as it is, so that its records need not be read."""
        child = self.runs.get(_place(run))
        if child is None or child.tags.get(names.STATUS) not in FINAL:
            return False
        tags = {**run_tags(self.sweep, run), **self.common_tags}  # a longer plan may have given it more draws
        if not tags.items() <= child.tags.items():
            return False
        try:
            state = self.ledger.run(run.folder).read_state()
        except DamagedFileError:
            return False
        return (state.status, str(state.attempt)) == (child.tags[names.STATUS], child.tags.get(names.ATTEMPT))

    def project(self, run: PlannedRun, result: RunResult, header: RunHeader | None) -> None:
        """Show in MLflow what the ledger holds of a run; nothing if it was never started.

        Args:
            header: of the run; None without one that can be read.
        """
        start_time = None if header is None else header.start_time
        place = _place(run)
        tags = {**run_tags(self.sweep, run), **self.common_tags}
        never_started = start_time is None and result.state.status is RunStatus.QUEUED
        child = self._remove_doubtful(place)
        self._in_doubt.add(place)  # until all is written: whatever fails below leaves it so
        if child is not None and (never_started or not _agrees(child, tags, result, start_time)):
            self.client.delete_run(child.run_id)
            child = None
        if not never_started:
            self._log(place, child, run, result, header, tags)
        self._in_doubt.discard(place)

    def write_sweep(self, searched: Sequence[str], varied: Sequence[str] = ()) -> None:
        """Attach the sweep file to the parent, describe it, and prepare the experiment's page.

        Args:
            searched: names of the hyperparameters that the draws differ in.
            varied: names of the parameters by which the arms differ.
        """
        config = self.sweep.config.model_dump(mode="json", exclude_unset=True)
        self.client.log_text(self.parent.run_id, write_yaml(config), names.SWEEP_FILE)
        write_views(self.client, self.experiment_id, searched, varied, self.sweep.config.metric)
        if names.NOTE not in self.parent.tags:  # else it holds the results so far
            self.describe()

    def describe(self, report: Report | None = None) -> None:
        """Describe the experiment and the parent, except where somebody has edited the description."""
        note = sweep_note(self.experiment_id, report)
        present = self.client.get_experiment(self.experiment_id).tags.get(names.NOTE)
        if present != note and is_ours(present):
            self.client.set_experiment_tag(self.experiment_id, names.NOTE, note)
        if is_ours(self.parent.tags.get(names.NOTE)):
            update_run(self.client, self.parent, tags={names.NOTE: note})

    def _add_found(self, run: TrackedRun) -> None:
        place = (run.tags[names.ARM], run.tags[names.RUN_KEY])
        if place not in self._changes.written:
            self._changes.found.add(place)
        if place in self.runs or place in self._in_doubt:  # an interrupted request created it twice
            self.runs.pop(place, None)
            self._in_doubt.add(place)
        else:
            self.runs[place] = run

    def _remove_doubtful(self, place: Place) -> TrackedRun | None:
        """The child of a place. If it is in doubt, all that stands there is deleted."""
        child = self.runs.pop(place, None)
        if place not in self._in_doubt:
            return child
        arm, key = place
        for run in list(find_runs(self.client, self.experiment_id, {**self.tags_of("run"), names.RUN_KEY: key})):
            if run.tags[names.ARM] == arm:
                self.client.delete_run(run.run_id)
        return None

    def _log(
        self,
        place: Place,
        child: TrackedRun | None,
        run: PlannedRun,
        result: RunResult,
        header: RunHeader | None,
        tags: dict[str, str],
    ) -> None:
        """Bring a child up to date; None creates it."""
        start_time = None if header is None else header.start_time
        is_new = child is None
        if child is None:
            # A run may fail before it has written its header. Then it has no points either.
            started = time.time() if start_time is None else start_time
            first = {**tags, **self.provenance, names.NOTE: run_note(self.sweep, run)}
            child = create_run(self.client, self.experiment_id, first, _milliseconds(started))
            if header is not None and header.split_digests:
                self.client.log_inputs(child.run_id, dataset_inputs(header))
            child.logged = (0, 0)
        if start_time is None:
            start_time = child.start_time / 1000
        state = self._shown_state(result.state)
        all_lines = (len(result.records), len(result.annealed))
        points = run_points(run, result, start_time, after=child.logged or all_lines)
        if self.sweep.config.tracking.system_metrics and state.status in FINAL:  # once: all of them, at the end
            points += system_points(parse_measurements(self.ledger.run(run.folder).read_file("system.jsonl")))
        tags |= {
            names.STATUS: state.status,
            names.ATTEMPT: str(state.attempt),
            names.LOGGED: _digest(result, *all_lines),
        }
        if state.reason or names.REASON in child.tags:
            tags[names.REASON] = state.reason or ""
        if update_run(
            self.client,
            child,
            points=points,
            params=run_params(run) if is_new else None,
            tags=tags,
            status=MLFLOW_STATUS[state.status],
            end_time=_end_time(result, start_time),
        ):
            self._changes.written.add(place)
        self._changes.points += len(points)
        child.logged = all_lines
        self.runs[place] = child

    def _sole_parent(self) -> TrackedRun:
        """The parent, created if there is none. Of several, which an interrupted request created, the oldest stays."""
        tags = {names.RUN_NAME: self.sweep.name, **self.tags_of("sweep"), **sweep_tags(self.sweep)}
        found = list(find_runs(self.client, self.experiment_id, self.tags_of("sweep")))
        if not found:
            started = _milliseconds(_first_start(self.ledger))
            found = [create_run(self.client, self.experiment_id, {**tags, **self.provenance}, started)]
        parent, *others = sorted(found, key=lambda run: (run.start_time, run.run_id))
        for other in others:
            self.client.delete_run(other.run_id)
        update_run(self.client, parent, tags=tags, status="RUNNING" if self.live else None)
        return parent

    def _shown_state(self, state: RunState) -> RunState:
        """A run that no launch works on is shown as the next launch will mark it."""
        if self.live or state.status not in (RunStatus.QUEUED, RunStatus.RUNNING):
            return state
        return replace(state, status=RunStatus.PREEMPTED, reason=LEFT_RUNNING)


def _place(run: PlannedRun) -> Place:
    return run.cell.arm, run.key


def _ledger_id(ledger: Ledger) -> str:
    """Drawn once for each ledger, and kept in it."""
    file = "tracking-id"
    ledger.store.put_if_absent(file, os.urandom(8).hex().encode())
    return (ledger.store.read(file) or b"").decode()


def _first_start(ledger: Ledger) -> float:
    """When the first run of the ledger began; now if none has. Seconds since the epoch."""
    headers = ledger.read_headers(ledger.run_names())
    return min((header.start_time for header in headers if header is not None), default=time.time())


def _agrees(child: TrackedRun, tags: dict[str, str], result: RunResult, start_time: float | None) -> bool:
    """Whether what the child shows is what the ledger holds, or the beginning of it if this process logged it."""
    if start_time is not None and child.start_time != _milliseconds(start_time):
        return False
    if child.tags.get(names.DRAW) != tags[names.DRAW]:  # also a parameter, which cannot be changed
        return False
    if child.tags.get(names.STATUS) in FINAL and child.tags.get(names.ATTEMPT) != str(result.state.attempt):
        return False  # it was trained again, which took more seconds
    records, annealed = child.logged or (len(result.records), len(result.annealed))
    return child.tags.get(names.LOGGED) == _digest(result, records, annealed)


def _digest(result: RunResult, records: int, annealed: int) -> str:
    """Of so many evaluations and annealed steps from the beginning."""
    return digest(msgspec.msgpack.encode((tuple(result.records[:records]), tuple(result.annealed[:annealed]))))


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _end_time(result: RunResult, start_time: float) -> int:
    """Milliseconds since the epoch: the start plus the device seconds, so that MLflow's duration leaves out the time
    between two launches."""
    return math.ceil((start_time + sum(result.seconds.values())) * 1000)
