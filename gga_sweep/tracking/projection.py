"""A ledger shown in MLflow: one experiment a sweep name, one parent run a sweep, one child a run and arm.

Everything here may be repeated at any time, and after any interruption: what is there already is found by its tags
and left as it is. What a slow or broken connection has made twice is found too, and one of it stays
(`tracked_run.keep_oldest`). A run that began a new life in the ledger (it was put back into the queue, or evaluations
were made again and came out otherwise) gets a new child: points of two lives never stand side by side.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec
import yaml

from gga_sweep.ledger.json_codec import digest
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import LEFT_RUNNING
from gga_sweep.ledger.run_reader import StoredRun
from gga_sweep.records import FINAL, AnnealedStep, AnnealingLine, RunState, RunStatus
from gga_sweep.selection.accuracy import accuracy_on_test_domains
from gga_sweep.selection.methods.training_validation import best_step
from gga_sweep.spec.models import TrainingSettings
from gga_sweep.spec.plan import PlannedRun, Sweep
from gga_sweep.tracking import names
from gga_sweep.tracking.descriptions import run_params, run_tags, sweep_tags
from gga_sweep.tracking.experiment import find_or_create_experiment
from gga_sweep.tracking.mlflow_api import Metric, MlflowClient
from gga_sweep.tracking.tally import Place, Tally
from gga_sweep.tracking.tracked_run import (
    TrackedRun,
    Update,
    by_age,
    create_run,
    find_runs,
    keep_oldest,
    metrics_at,
    update_run,
)
from gga_sweep.tracking.views import description, write_views

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

_UNDER_WAY = (RunStatus.QUEUED, RunStatus.RUNNING)


class Projection:
    """One sweep's runs in one MLflow store, found or created when this is made.

    Args:
        client: of the store; used from one thread.
        sweep: names the experiment and places its artifacts.
        ledger: gives the sweep its identity; read for the weights of winners.
        start_time: seconds since the epoch, of a parent that has to be created.
        live: whether a launch works on the ledger now. If none does, what it left under way is shown as KILLED. May be
            set later.
        tally: counts what is done.

    Raises:
        GGASweepError: other sweeps have taken every name the experiment could have.
        Exception: whatever MLflow, its server or its database raise.
    """

    def __init__(
        self,
        client: MlflowClient,
        sweep: Sweep,
        ledger: Ledger,
        start_time: float,
        live: bool = True,
        tally: Tally | None = None,
    ) -> None:
        self.client = client
        self.sweep = sweep
        self.ledger = ledger
        self.live = live
        self.experiment_id = find_or_create_experiment(client, sweep.folder)
        self._tally = Tally() if tally is None else tally
        ledger_id = _ledger_id(ledger)
        parents = list(find_runs(client, self.experiment_id, names.LEDGER, ledger_id))
        deleted = list(find_runs(client, self.experiment_id, names.LEDGER, ledger_id, deleted=True))
        self.parent = self._parent(parents, ledger_id, start_time)
        children = self._adopt([*parents, *deleted])
        if parents:
            keep_oldest(client, parents)  # not before their children are safe
        self.runs = self._one_each(children, "run", names.RUN_KEY)
        self.summaries = self._one_each(children, "summary", names.TEST_DOMAINS)

    def find(self, arm: str, key: str) -> TrackedRun | None:
        """The child of a run in an arm, if it has been projected."""
        return self.runs.get((arm, key))

    def up_to_date(self, run: PlannedRun) -> bool:
        """Whether the ledger's records need not even be read: the run was final when it was last projected."""
        child = self.find(run.cell.arm, run.key)
        if child is None or child.tags.get(names.STATUS) not in FINAL:
            return False
        tags = run_tags(self.sweep, run, self.parent.run_id)  # a longer plan may have given it more draws
        if child.status != MLFLOW_STATUS[RunStatus(child.tags[names.STATUS])] or not tags.items() <= child.tags.items():
            return False
        header = self.ledger.run(run.folder).readable_header()
        return header is not None and child.start_time == _milliseconds(header.start_time)

    def project(self, run: PlannedRun, stored: StoredRun) -> None:
        """Show in MLflow what the ledger holds of a run; nothing when it was never started."""
        place = (run.cell.arm, run.key)
        never_started = stored.header is None and stored.state.status is RunStatus.QUEUED
        if place in self.runs and (never_started or _of_another_life(self.runs[place], stored)):
            self.client.delete_run(self.runs.pop(place).run_id)
        if never_started:
            return
        tags = run_tags(self.sweep, run, self.parent.run_id)
        child = self.runs.get(place) or self._create_child(place, tags, stored)
        start_time = child.start_time / 1000 if stored.header is None else stored.header.start_time
        state = self._shown_state(stored)
        tags[names.STATUS] = state.status
        if not _behind(child, stored):
            tags |= _shown_tags(stored)
        if state.reason or names.REASON in child.tags:
            tags[names.REASON] = state.reason or ""
        update = Update(
            metrics=_new_metrics(child, run, stored, start_time),
            params=run_params(run),
            tags=tags,
            status=MLFLOW_STATUS[state.status],
            end_time=_end_time(stored, start_time),
        )
        if update_run(self.client, child, update):
            self._tally.changed.add(place)
        self._tally.points += len(update.metrics)

    def write_views(self, searched: Sequence[str]) -> None:
        """Prepare the experiment's page, and describe the parent, unless somebody has.

        Args:
            searched: names of the hyperparameters that the draws differ in.
        """
        write_views(self.client, self.experiment_id, searched)
        if names.NOTE not in self.parent.tags:
            update_run(self.client, self.parent, Update(tags={names.NOTE: description(self.experiment_id)}))

    def write_sweep_file(self) -> None:
        """Hang the sweep file, as it was understood, on the parent."""
        config = self.sweep.config.model_dump(mode="json", exclude_unset=True)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        if self.parent.tags.get(names.SWEEP_FILE_DIGEST) != digest:
            self.client.log_text(self.parent.run_id, text, names.SWEEP_FILE)
            update_run(self.client, self.parent, Update(tags={names.SWEEP_FILE_DIGEST: digest}))

    def _create_child(self, place: Place, tags: dict[str, str], stored: StoredRun) -> TrackedRun:
        # A run may fail before it has written its header: then it has no metrics either.
        started = time.time() if stored.header is None else stored.header.start_time
        self.runs[place] = create_run(self.client, self.experiment_id, tags, _milliseconds(started))
        self._tally.new.add(place)
        return self.runs[place]

    def _parent(self, found: Iterable[TrackedRun], ledger_id: str, start_time: float) -> TrackedRun:
        tags = {
            names.RUN_NAME: self.sweep.name,
            names.ROLE: "sweep",
            **sweep_tags(self.sweep),
            names.LEDGER: ledger_id,
        }
        parent = min(found, key=by_age, default=None)
        if parent is None:
            parent = create_run(self.client, self.experiment_id, tags, _milliseconds(start_time))
        update_run(self.client, parent, Update(tags=tags, status="RUNNING" if self.live else None))
        return parent

    def _adopt(self, parents: Iterable[TrackedRun]) -> list[TrackedRun]:
        """The children of all parents that the ledger ever had, now under the one that stays."""
        children = [
            child
            for parent in parents
            for child in find_runs(self.client, self.experiment_id, names.PARENT, parent.run_id)
        ]
        for child in children:
            update_run(self.client, child, Update(tags={names.PARENT: self.parent.run_id}))
        return children

    def _one_each(self, children: Iterable[TrackedRun], role: str, second_tag: str) -> dict[Place, TrackedRun]:
        """The children of a role by their place, which is their arm and another tag."""
        places: dict[Place, list[TrackedRun]] = {}
        for child in children:
            if child.tags.get(names.ROLE) == role:
                places.setdefault((child.tags[names.ARM], child.tags[second_tag]), []).append(child)
        return {place: keep_oldest(self.client, runs) for place, runs in places.items()}

    def _shown_state(self, stored: StoredRun) -> RunState:
        """What nobody works on is shown as the next launch will mark it."""
        if self.live or stored.state.status not in _UNDER_WAY:
            return stored.state
        return replace(stored.state, status=RunStatus.PREEMPTED, reason=LEFT_RUNNING)


def _ledger_id(ledger: Ledger) -> str:
    """Drawn once a ledger, and kept in it."""
    file = "tracking-id"
    ledger.store.put_if_absent(file, os.urandom(8).hex().encode())
    return (ledger.store.read(file) or b"").decode()


def _of_another_life(child: TrackedRun, stored: StoredRun) -> bool:
    """Whether points of the ledger's run must not stand beside those that the child has."""
    if stored.header is not None and child.start_time != _milliseconds(stored.header.start_time):
        return True
    if names.SHOWN_DIGEST not in child.tags or _behind(child, stored):
        return False
    return child.tags[names.SHOWN_DIGEST] != _digest(stored, *_shown(child))


def _behind(child: TrackedRun, stored: StoredRun) -> bool:
    """Whether the ledger holds less than is shown, and will hold it again: the run goes on from a checkpoint before its
    last lines, or its files are damaged."""
    records, annealed = _shown(child)
    return stored.state.status not in FINAL and (len(stored.records) < records or len(stored.annealed) < annealed)


def _shown(child: TrackedRun) -> tuple[int, int]:
    """How many evaluations and annealed steps."""
    return child.count(names.RECORDS), child.count(names.ANNEALED_STEPS)


def _shown_tags(stored: StoredRun) -> dict[str, str]:
    """Of a child that shows all of it."""
    records, annealed = len(stored.records), len(stored.annealed)
    return {
        names.RECORDS: str(records),
        names.ANNEALED_STEPS: str(annealed),
        names.SHOWN_DIGEST: _digest(stored, records, annealed),
    }


def _digest(stored: StoredRun, records: int, annealed: int) -> str:
    """Of the first evaluations and annealed steps."""
    return digest(msgspec.msgpack.encode((stored.records[:records], stored.annealed[:annealed])))


def _new_metrics(child: TrackedRun, run: PlannedRun, stored: StoredRun, start_time: float) -> list[Metric]:
    """What the child does not show yet, in the order of steps."""
    metrics: list[Metric] = []
    shown_records, shown_annealed = _shown(child)
    for record in stored.records[shown_records:]:
        values = names.validation_metrics(record.validation) | names.test_metrics(record.test)
        metrics += metrics_at(values, record.step, start_time)
    for line in stored.annealed[shown_annealed:]:
        metrics += metrics_at(_annealing_metrics(line, run.config.training), line.step, start_time)
    if stored.state.status in FINAL:
        metrics += _final_metrics(run, stored, start_time)
    return metrics


def _annealing_metrics(line: AnnealingLine, training: TrainingSettings) -> dict[str, float]:
    """GGA-L has a line at every step: too many for a tracking store, so only evaluated steps show theirs."""
    if isinstance(line, AnnealedStep):
        return names.search_metrics(line)
    evaluated = line.step % training.evaluate_every == 0 or line.step == training.steps - 1
    return names.noise_metrics(line) if evaluated else {}


def _final_metrics(run: PlannedRun, stored: StoredRun, start_time: float) -> list[Metric]:
    """The values at the run's own best step, those of its averaged weights, and where its time went."""
    seconds = {names.seconds_key(phase): value for phase, value in stored.seconds.items()}
    metrics = metrics_at(seconds, max(stored.state.step, 0), start_time)
    if best := best_step(record.validation for record in stored.records):
        record = next(record for record in stored.records if record.step == best.step)
        selected = {
            names.SELECTED_STEP: best.step,
            names.SELECTED_VAL_ACCURACY: best.accuracy,
            names.SELECTED_TEST_ACCURACY: accuracy_on_test_domains(record, run.cell),
        }
        metrics += metrics_at(selected, best.step, start_time)
    if averaged := stored.averaged:
        values = {
            names.AVERAGED_VAL_ACCURACY: averaged.record.validation.accuracy,
            names.AVERAGED_VAL_LOSS: averaged.record.validation.loss,
            names.AVERAGED_TEST_ACCURACY: accuracy_on_test_domains(averaged.record, run.cell),
            names.AVERAGED_FIRST_STEP: averaged.first_step,
            names.AVERAGED_LAST_STEP: averaged.last_step,
        }
        metrics += metrics_at(values, averaged.record.step, start_time)
    return metrics


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _end_time(stored: StoredRun, start_time: float) -> int:
    """Milliseconds since the epoch: the start plus the seconds it ran, so that MLflow's duration is the run's own,
    without the time it lay waiting between two launches."""
    return math.ceil((start_time + sum(stored.seconds.values())) * 1000)
