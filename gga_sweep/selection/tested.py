"""The score of a run on its test domains."""

from __future__ import annotations

import math
from typing import Literal

from gga_sweep.records import Cell, Record, mean_score


def score_on_test_domains(
    record: Record, cell: Cell, metric: str, split: Literal["train", "validation"] = "train"
) -> float:
    """A metric on one split of the cell's test domains: their unweighted mean.

    NaN if one is missing, was not evaluated at this step, or has none. The training split is the reported one; only the
    oracle uses the other.
    """
    domains = record.test.domains
    held_out = [domains.get(name) for name in cell.test_domains]
    mean = mean_score((None if domain is None else getattr(domain, split) for domain in held_out), metric)
    return math.nan if mean is None else mean
