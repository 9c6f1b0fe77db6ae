"""Training-domain validation: per run the best step, per cell the best draw, by a validation metric alone.

The score is the unweighted mean over the training domains of the metric on their validation splits; of accuracy, as in
DomainBed (domainbed/model_selection.py, `IIDAccuracySelectionMethod`). Ties and NaN: `selection.choice`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gga_sweep.records import RunRecords, ValidationRecord
from gga_sweep.selection.choice import BestStep, highest_step
from gga_sweep.selection.declaration import Judge, Method


def best_step(validations: Iterable[ValidationRecord], metric: str) -> BestStep | None:
    """The step with the highest finite validation mean; None when there is none.

    A `ValidationRecord` holds no test domain, so that the choice cannot depend on one.
    """
    return highest_step((record.step, record.validation_mean(metric)) for record in validations)


def by_validation(run: RunRecords, metric: str) -> BestStep | None:
    """The best step of a run, by validation splits alone."""
    return highest_step(run.validation_means(metric))


def judge_by_validation(runs: Sequence[RunRecords], metric: str) -> Judge:
    """The judge of this method, and of others that choose the step as it does."""
    return lambda run: by_validation(run, metric)


METHOD = Method(
    name="training-domain-validation",
    label="training-domain validation",
    rule="of each run the step, of each cell the draw with the highest validation {metric}, averaged over "
    "the training domains; test domains are never looked at",
    lacking="a finite validation {metric}",
    judge=judge_by_validation,
)
