"""The accuracy of a run on its test domains."""

from __future__ import annotations

import math
from typing import Literal

from gga_sweep.records import Cell, Record


def accuracy_on_test_domains(record: Record, cell: Cell, split: Literal["train", "validation"] = "train") -> float:
    """Accuracy on one split of the cell's test domains, in [0, 1]: their unweighted mean.

    NaN if one is missing or was not evaluated at this step. The training split is the reported one; only the oracle
    uses the other.
    """
    domains = record.test.domains
    if any(name not in domains for name in cell.test_domains):
        return math.nan
    held_out = [domains[name] for name in cell.test_domains]
    scores = [domain.train if split == "train" else domain.validation for domain in held_out]
    return sum(math.nan if score is None else score.accuracy for score in scores) / len(scores)
