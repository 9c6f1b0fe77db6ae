"""The runs of a sweep as tidy rows: one row a run, or one row an evaluation.

Both kinds of rows begin with these columns:

| column | value |
|---|---|
| sweep, dataset, arm, trial_seed | of the run |
| test_domains | joined by +, as in `art+sketch` |
| draw | the highest draw number that gave this configuration; empty without one |
| folder | of the run in the ledger |
| status | as in `RunStatus`: DONE, DIVERGED, STOPPED, FAILED, ... |
| selected | by run: whether the run was selected in its cell; by step: whether it was selected at this step |
| params.NAME | a hyperparameter that the draw gave, by dotted name; empty where the arm has none of this name |

By run:

| column | value |
|---|---|
| reason | why the run is not DONE; empty if it is |
| steps | number of trained steps |
| step | the selected step of a selected run; of another run the first of those of highest validation accuracy |
| validation_accuracy, validation_loss | at `step`, unweighted mean over the validation splits of the training domains |
| test_accuracy, test_loss | at `step`, unweighted mean over the training splits of the test domains, as in the table |
| seconds, seconds.PHASE | device-seconds, in total and by phase |
| inherited_seconds | the part of `seconds` that other runs spent, on the steps they share with this run |

By step:

| column | value |
|---|---|
| step | counted from 0; the evaluation was made after the update of this step |
| train_accuracy, train_loss | unweighted mean over the training splits of the training domains |
| validation_accuracy, validation_loss, test_accuracy, test_loss | as by run, at this step |
| batch_loss | joint loss of the minibatches of this step, before its update |
| alignment, mean_alignment | smallest and mean cosine between the gradients of two training domains |

Accuracies are in [0, 1], losses in nats. What `training.evaluate: selection` did not evaluate is empty. A run that
belongs to two arms has a row in each. An arm of averaged weights has the runs of its arm again, with the one evaluation
of these weights: do not add up its seconds.
"""

from __future__ import annotations

import math

from gga_sweep.records import Agreement, Cell, Record, RunRecords, Scalar
from gga_sweep.selection import SweepView, Table, domain_label
from gga_sweep.selection.accuracy import accuracy_on_test_domains

Value = Scalar | None
Rows = tuple[tuple[str, ...], list[dict[str, Value]]]
"""The columns, and the rows with the values they have."""

_IDENTITY = ("sweep", "dataset", "arm", "test_domains", "trial_seed", "draw", "folder", "status", "selected")
_SCORES = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")
_BY_RUN = ("reason", "steps", "step", *_SCORES, "seconds", "inherited_seconds")
_BY_STEP = ("step", "train_accuracy", "train_loss", *_SCORES, "batch_loss", "alignment", "mean_alignment")


def rows_by_run(view: SweepView, table: Table) -> Rows:
    """A row for each run, in the order of the sweep.

    Args:
        view: the sweep.
        table: built from it; its selected runs are the selected ones.
    """
    selected = _selected_steps(table)
    phases = sorted({phase for run in view.records for phase in run.seconds})
    rows: list[dict[str, Value]] = []
    for run in view.records:
        step = selected.get(_place(run))
        at = _best_step(run) if step is None else step
        rows.append(
            {
                **_identity(view, run),
                "selected": step is not None,
                "reason": run.reason,
                "steps": run.result.state.step + 1,
                "step": at,
                **({} if at is None else _scores(run.record_at(at), run)),
                "seconds": math.fsum(run.seconds.values()),
                "inherited_seconds": run.inherited_seconds,
                **{f"seconds.{phase}": seconds for phase, seconds in run.seconds.items()},
            }
        )
    return (*_IDENTITY, *_BY_RUN, *(f"seconds.{phase}" for phase in phases), *_params(view)), rows


def rows_by_step(view: SweepView, table: Table) -> Rows:
    """A row for each evaluation of each run, by ascending step.

    Args:
        view: the sweep.
        table: built from it; its selected runs are the selected ones.
    """
    selected = _selected_steps(table)
    rows: list[dict[str, Value]] = [
        {
            **_identity(view, run),
            "selected": selected.get(_place(run)) == record.step,
            "step": record.step,
            "train_accuracy": record.validation.training_mean("accuracy"),
            "train_loss": record.validation.training_mean("loss"),
            **_scores(record, run),
            "batch_loss": record.validation.batch_loss,
            **_alignment(record.validation.agreement),
        }
        for run in view.records
        for record in run.records
    ]
    return (*_IDENTITY, *_BY_STEP, *_params(view)), rows


def _place(run: RunRecords) -> tuple[Cell, str]:
    return run.cell, run.key


def _selected_steps(table: Table) -> dict[tuple[Cell, str], int]:
    return {(one.cell, one.key): one.step for one in table.selected}


def _best_step(run: RunRecords) -> int | None:
    finite = [(accuracy, -step) for step, accuracy in run.accuracies if math.isfinite(accuracy)]
    return -max(finite)[1] if finite else None


def _identity(view: SweepView, run: RunRecords) -> dict[str, Value]:
    return {
        "sweep": view.name,
        "dataset": run.cell.dataset,
        "arm": run.cell.arm,
        "test_domains": domain_label(run.cell.test_domains),
        "trial_seed": run.cell.trial_seed,
        "draw": max(run.draws, default=None),
        "folder": run.folder,
        "status": run.status.value,
        **{f"params.{name}": value for name, value in run.hyperparameters.items()},
    }


def _scores(record: Record, run: RunRecords) -> dict[str, Value]:
    tests = record.test.domains
    scores = [tests[name].train for name in run.cell.test_domains if name in tests]
    losses = [score.loss for score in scores if score is not None]
    is_tested = len(losses) == len(run.cell.test_domains)
    return {
        "validation_accuracy": record.validation.accuracy,
        "validation_loss": record.validation.loss,
        "test_accuracy": accuracy_on_test_domains(record, run.cell) if is_tested else None,
        "test_loss": sum(losses) / len(losses) if is_tested else None,
    }


def _alignment(agreement: Agreement | None) -> dict[str, Value]:
    return {} if agreement is None else {"alignment": agreement.minimum, "mean_alignment": agreement.mean}


def _params(view: SweepView) -> list[str]:
    return sorted({f"params.{name}" for run in view.records for name in run.hyperparameters})
