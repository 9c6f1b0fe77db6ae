"""The test-domain oracle: the draw with the highest accuracy on the test domain itself. It peeks.

Without the labels of the test domain its results cannot be reached: they bound what selection could have gained. A run
is judged by the accuracy on the validation splits (20 %) of its test domains, their unweighted mean, at its last
evaluation: no step is selected (DomainBed, domainbed/model_selection.py, `OracleSelectionMethod`). Ties and NaN:
`selection.choice`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gga_sweep.records import RunRecords
from gga_sweep.selection.accuracy import accuracy_on_test_domains
from gga_sweep.selection.choice import BestStep, highest_step
from gga_sweep.selection.declaration import Judge, Method


def last_step(run: RunRecords) -> BestStep | None:
    """The last evaluation; None without one, or if its accuracy is not finite."""
    return highest_step(
        (record.step, accuracy_on_test_domains(record, run.cell, "validation")) for record in run.records[-1:]
    )


def _judge(runs: Sequence[RunRecords]) -> Judge:
    return last_step


METHOD = Method(
    name="oracle",
    label="test-domain oracle",
    rule="of each cell the draw with the highest accuracy on the test domain's own validation split, at the last step",
    lacking="a finite accuracy on the test domain's validation split at its last step",
    judge=_judge,
    reads_tests="last",
    peeks="it chooses by the labels of the test domain, which are not available in practice: an upper bound, not a "
    "result",
    may_come_first=False,
)
