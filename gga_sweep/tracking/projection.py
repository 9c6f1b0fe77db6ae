"""A ledger shown in MLflow: one experiment a sweep name, one parent run a sweep, one child a run and arm.

Everything here may be repeated at any time, and after any interruption: what is there already is found by its tags
and left as it is.
"""

from __future__ import annotations

import hashlib
import math
import os
import time

import yaml

from gga_sweep.config import TrainingSettings
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import StoredRun
from gga_sweep.planning.plan import PlannedRun, Sweep
from gga_sweep.records import FINAL, AnnealedStep, AnnealingLine, RunStatus
from gga_sweep.selection.accuracy import accuracy_on_test_domains
from gga_sweep.selection.training_validation import best_step
from gga_sweep.tracking import names
from gga_sweep.tracking.descriptions import run_params, run_tags, sweep_tags
from gga_sweep.tracking.experiment import find_or_create_experiment
from gga_sweep.tracking.mlflow_api import Metric, MlflowClient
from gga_sweep.tracking.tracked_run import TrackedRun, Update, create_run, find_runs, metrics_at, update_run

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
    """One sweep's runs in one MLflow store, found or created when this is made.

    Args:
        client: of the store; used from one thread.
        sweep: names the experiment and places its artifacts.
        ledger: gives the sweep its identity; read for the weights of winners.
        start_time: seconds since the epoch, of a parent that has to be created.

    Raises:
        GGASweepError: other sweeps have taken every name the experiment could have.
        Exception: whatever MLflow, its server or its database raise.
    """

    def __init__(self, client: MlflowClient, sweep: Sweep, ledger: Ledger, start_time: float) -> None:
        self.client = client
        self.sweep = sweep
        self.ledger = ledger
        self.experiment_id = find_or_create_experiment(client, sweep.folder)
        self.parent = self._find_or_create_parent(start_time)
        children = list(find_runs(client, self.experiment_id, names.PARENT, self.parent.run_id))
        self.runs = {
            (child.tags[names.ARM], child.tags[names.RUN_KEY]): child
            for child in children
            if child.tags.get(names.ROLE) == "run"
        }
        self.summaries = {
            (child.tags[names.ARM], child.tags[names.TEST_DOMAINS]): child
            for child in children
            if child.tags.get(names.ROLE) == "summary"
        }

    def find(self, arm: str, key: str | None) -> TrackedRun | None:
        """The child of a run in an arm, if it has been projected."""
        return None if key is None else self.runs.get((arm, key))

    def up_to_date(self, run: PlannedRun) -> bool:
        """Whether the ledger need not even be read: the run was final when it was last projected."""
        child = self.find(run.cell.arm, run.key)
        if child is None or child.tags.get(names.STATUS) not in FINAL:
            return False
        tags = run_tags(self.sweep, run, self.parent.run_id)  # a longer plan may have given it more draws
        return child.status == MLFLOW_STATUS[RunStatus(child.tags[names.STATUS])] and tags.items() <= child.tags.items()

    def project(self, run: PlannedRun, stored: StoredRun) -> None:
        """Show in MLflow what the ledger holds of a run; nothing when it was never started."""
        if run.key is None or (stored.header is None and stored.state.status is RunStatus.QUEUED):
            return
        # A run may fail before it has written its header: then it has no metrics either.
        start_time = time.time() if stored.header is None else stored.header.start_time
        tags = run_tags(self.sweep, run, self.parent.run_id)
        child = self.find(run.cell.arm, run.key)
        if child is None:
            child = create_run(self.client, self.experiment_id, tags, int(start_time * 1000))
            self.runs[run.cell.arm, run.key] = child
        status = stored.state.status
        tags |= {
            names.STATUS: status,
            names.RECORDS: str(len(stored.records)),
            names.ANNEALED_STEPS: str(len(stored.annealed)),
        }
        if stored.state.reason or names.REASON in child.tags:
            tags[names.REASON] = stored.state.reason or ""
        update = Update(
            metrics=_new_metrics(child, run, stored, start_time),
            params=run_params(run),
            tags=tags,
            status=MLFLOW_STATUS[status],
            end_time=_end_time(stored, start_time),
        )
        update_run(self.client, child, update)

    def write_sweep_file(self) -> None:
        """Hang the sweep file, as it was understood, on the parent."""
        config = self.sweep.config.model_dump(mode="json", exclude_unset=True)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        if self.parent.tags.get(names.SWEEP_FILE_DIGEST) != digest:
            self.client.log_text(self.parent.run_id, text, names.SWEEP_FILE)
            update_run(self.client, self.parent, Update(tags={names.SWEEP_FILE_DIGEST: digest}))

    def _find_or_create_parent(self, start_time: float) -> TrackedRun:
        ledger_id = _ledger_id(self.ledger)
        tags = {
            names.RUN_NAME: self.sweep.name,
            names.ROLE: "sweep",
            **sweep_tags(self.sweep),
            names.LEDGER: ledger_id,
        }
        found = find_runs(self.client, self.experiment_id, names.LEDGER, ledger_id)
        parent = next(found, None) or create_run(self.client, self.experiment_id, tags, int(start_time * 1000))
        update_run(self.client, parent, Update(tags=tags, status="RUNNING"))
        return parent


def _ledger_id(ledger: Ledger) -> str:
    """Drawn once a ledger, and kept in it."""
    file = "tracking-id"
    ledger.store.put_if_absent(file, os.urandom(8).hex().encode())
    return (ledger.store.read(file) or b"").decode()


def _new_metrics(child: TrackedRun, run: PlannedRun, stored: StoredRun, start_time: float) -> list[Metric]:
    """What the child does not show yet, in the order of steps."""
    metrics: list[Metric] = []
    for record in stored.records[child.count(names.RECORDS) :]:
        values = names.validation_metrics(record.validation) | names.test_metrics(record.test)
        metrics += metrics_at(values, record.step, start_time)
    for line in stored.annealed[child.count(names.ANNEALED_STEPS) :]:
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
    """The values at the run's own best step, and where its time went."""
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
    return metrics


def _end_time(stored: StoredRun, start_time: float) -> int:
    """Milliseconds since the epoch: the start plus the seconds it ran, so that MLflow's duration is the run's own,
    without the time it lay waiting between two launches."""
    return math.ceil((start_time + sum(stored.seconds.values())) * 1000)
