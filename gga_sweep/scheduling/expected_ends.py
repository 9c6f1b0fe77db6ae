"""How many runs early stopping is expected to stop at each rung."""

from __future__ import annotations

from collections import Counter

import numpy as np

from gga_sweep.scheduling.next_runs import rungs_of
from gga_sweep.scheduling.rungs import RungTable
from gga_sweep.spec import SweepSpec
from gga_sweep.spec.adaptive_search import adaptive_settings

_CELLS = 400


def expected_ends(sweep: SweepSpec) -> dict[int, float]:
    """By number of steps, the share of runs that are stopped after them; empty without early stopping.

    Assumes that the runs of a cell are in random order and have the same ranking at all rungs.
    """
    rungs, stopping = rungs_of(sweep), sweep.config.early_stopping
    if stopping is None:
        return {}
    rng, ended = np.random.default_rng(0), Counter[int]()
    for arm in sweep.arms:
        for _ in range(_CELLS):
            table = RungTable(rungs, stopping.reduction_factor)
            ended.update(_ends(table, list(rng.permutation(arm.draws)), adaptive_settings(sweep.config).at_once))
    runs = _CELLS * sum(arm.draws for arm in sweep.arms)
    return {step + 1: number / runs for step, number in sorted(ended.items())}


def _ends(table: RungTable, scores: list[int], at_once: int) -> list[int]:
    """The rungs at which runs of one cell are stopped, if their scores are the same at each rung."""
    ends = []
    for first in range(0, len(scores), at_once):
        cutoffs, group = table.cutoffs(), scores[first : first + at_once]
        for score in group:
            last = next((step for step in table.steps if score < cutoffs.get(step, -1)), None)
            for step in table.steps:
                if last is None or step <= last:
                    table.reached(step, score)
            if last is not None:
                ends.append(last)
    return ends
