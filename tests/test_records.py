"""The types that all floors share."""

from __future__ import annotations

import math

from made_runs import made_run

from gga_sweep.records import AnnealedStep, AnnealingLine, Cell, NoisyStep, RunRecords

SEARCHES = tuple(
    AnnealedStep(step, 8, 2, 3, 0.1, 0.2, 1.0, 1.1, 0.1, 0.15, 0.1, 0.12, 0.6, 2.0) for step in range(20, 23)
)
NOISY_STEPS = tuple(NoisyStep(step, math.nan, 1e-3, 0.5, 2.0) for step in range(3))


def run_with(annealed: tuple[AnnealingLine, ...]) -> RunRecords:
    return made_run("k", "f", Cell("PACS", "arm", ("photo",), 0), (0,), {}, annealed=annealed)


def test_searches_and_noisy_steps_are_told_apart() -> None:
    plain, searching, noisy = map(run_with, ((), SEARCHES, NOISY_STEPS))
    assert (plain.searches, plain.noisy_steps) == ((), ())
    assert (searching.searches, searching.noisy_steps) == (SEARCHES, ())
    assert (noisy.searches, noisy.noisy_steps) == ((), NOISY_STEPS)
