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
| step | the selected step of a selected run; of another run the first of those of highest validation score |
| validation_METRIC | at `step`, unweighted mean over the validation splits of the training domains |
| test_METRIC | at `step`, unweighted mean over the training splits of the test domains, as in the table |
| seconds, seconds.PHASE | device-seconds, in total and by phase |
| inherited_seconds | the part of `seconds` that other runs spent, on the steps they share with this run |

By step:

| column | value |
|---|---|
| step | counted from 0; the evaluation was made after the update of this step |
| train_METRIC | unweighted mean over the training splits of the training domains |
| validation_METRIC, test_METRIC | as by run, at this step |
| batch_loss | joint loss of the minibatches of this step, before its update |
| alignment, mean_alignment | smallest and mean cosine between the gradients of two training domains |

METRIC stands for the name of each metric in turn (`gga_sweep.metrics.METRICS`). Losses are in nats, the others in
[0, 1]. What is undefined, or was not evaluated (`training.evaluate: selection`), is empty. A run that belongs to two
arms has a row in each. An arm of averaged weights has the runs of its arm again, with the one evaluation
of these weights: do not add up its seconds.
"""

from __future__ import annotations

import math

from gga_sweep.metrics import METRICS
from gga_sweep.records import Agreement, Cell, Record, RunRecords, Scalar
from gga_sweep.selection import SweepView, Table, domain_label
from gga_sweep.selection.methods.training_validation import by_validation
from gga_sweep.selection.tested import score_on_test_domains

Value = Scalar | None
Rows = tuple[tuple[str, ...], list[dict[str, Value]]]
"""The columns, and the rows with the values they have."""

_IDENTITY = ("sweep", "dataset", "arm", "test_domains", "trial_seed", "draw", "folder", "status", "selected")
_SCORES = tuple(f"{split}_{metric}" for split in ("validation", "test") for metric in METRICS)
_BY_RUN = ("reason", "steps", "step", *_SCORES, "seconds", "inherited_seconds")
_BY_STEP = ("step", *(f"train_{metric}" for metric in METRICS), *_SCORES, "batch_loss", "alignment", "mean_alignment")


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
        best = by_validation(run, view.metric) if step is None else None
        at = best.step if best is not None else step
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
            **{f"train_{metric}": record.validation.training_mean(metric) for metric in METRICS},
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
    validation = {metric: record.validation.validation_mean(metric) for metric in METRICS}
    test = {metric: score_on_test_domains(record, run.cell, metric) for metric in METRICS}
    return {
        **{f"validation_{metric}": _known(value) for metric, value in validation.items()},
        **{f"test_{metric}": _known(value) for metric, value in test.items()},
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _alignment(agreement: Agreement | None) -> dict[str, Value]:
    return {} if agreement is None else {"alignment": agreement.minimum, "mean_alignment": agreement.mean}


def _params(view: SweepView) -> list[str]:
    return sorted({f"params.{name}" for run in view.records for name in run.hyperparameters})
