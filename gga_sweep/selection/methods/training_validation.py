"""Training-domain validation: per run the best step, per cell the best draw, by validation accuracy alone.

Validation accuracy is the unweighted mean over the training domains of the accuracy on their validation splits
(`ValidationRecord.accuracy`; DomainBed, domainbed/model_selection.py, `IIDAccuracySelectionMethod`). Ties and NaN:
`selection.choice`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gga_sweep.records import RunRecords, ValidationRecord
from gga_sweep.selection.choice import BestStep, highest_step
from gga_sweep.selection.declaration import Judge, Method


def best_step(validations: Iterable[ValidationRecord]) -> BestStep | None:
    """The step with the highest finite validation accuracy; None when there is none.

    A `ValidationRecord` holds no test domain, so that the choice cannot depend on one.
    """
    return highest_step((record.step, record.accuracy) for record in validations)


def by_validation(run: RunRecords) -> BestStep | None:
    """The best step of a run. Its accuracies are on validation splits alone."""
    return highest_step(run.accuracies)


def _judge(runs: Sequence[RunRecords]) -> Judge:
    return by_validation


METHOD = Method(
    name="training-domain-validation",
    label="training-domain validation",
    rule="of each run the step, of each cell the draw with the highest validation accuracy, averaged over "
    "the training domains; test domains are never looked at",
    lacking="a finite validation accuracy",
    judge=_judge,
)
