"""The test-domain oracle: the draw with the highest score on the test domain itself. It peeks.

Without the labels of the test domain its results cannot be reached: they bound what selection could have gained. A run
is judged by the metric on the validation splits (20 %) of its test domains, their unweighted mean, at its last
evaluation: no step is selected (DomainBed, domainbed/model_selection.py, `OracleSelectionMethod`). Ties and NaN:
`selection.choice`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gga_sweep.records import RunRecords
from gga_sweep.selection.choice import BestStep, highest_step
from gga_sweep.selection.declaration import Judge, Method
from gga_sweep.selection.tested import score_on_test_domains


def last_step(run: RunRecords, metric: str) -> BestStep | None:
    """The last evaluation; None without one, or if its score is not finite."""
    return highest_step(
        (record.step, score_on_test_domains(record, run.cell, metric, "validation")) for record in run.records[-1:]
    )


def _judge(runs: Sequence[RunRecords], metric: str) -> Judge:
    return lambda run: last_step(run, metric)


METHOD = Method(
    name="oracle",
    label="test-domain oracle",
    rule="of each cell the draw with the highest {metric} on the test domain's own validation split, at the last step",
    lacking="a finite {metric} on the test domain's validation split at its last step",
    judge=_judge,
    reads_tests="last",
    peeks="it chooses by the labels of the test domain, which are not available in practice: an upper bound, not a "
    "result",
    may_come_first=False,
)
