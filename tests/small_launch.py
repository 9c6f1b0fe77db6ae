"""What a display is fed with: a plan of four runs and a clock that stands until it is moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gga_sweep.scheduling.estimate import Estimate, estimate_from
from gga_sweep.spec import Contents, PlannedRun, load, plan_sweep
from gga_sweep.spec.counted_work import MeasuredWork, work_of

CONTENT: dict[str, Any] = {
    "name": "launch",
    "dataset": {"name": "RotatedDigits"},
    "arms": [{"algorithm": "ERM"}, {"algorithm": "ERM", "annealing": {"start_step": 2, "num_steps": 2}}],
    "test_domains": ["0", "75"],
    "trial_seeds": [0],
    "training": {"steps": 7, "evaluate_every": 3},
}


class Clock:
    """Seconds, as the test sets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def runs_by_key(**fields: Any) -> Mapping[str, PlannedRun]:
    """ERM on two test domains, then an annealed arm on the same; of seven steps each."""
    plan = plan_sweep(load({**CONTENT, **fields}, storage=Path("nowhere")), Contents(dataset="0" * 32))
    return {run.key: run for run in plan.runs}


def estimate_in_seconds(runs: Mapping[str, PlannedRun]) -> Estimate:
    """A run of the first arm takes 8 s."""
    config, dataset = next(iter(runs.values())).config, load(CONTENT, storage=Path("nowhere")).dataset
    work = work_of(config, dataset)
    return estimate_from(dataset, [MeasuredWork(work, {"training": 5.0, "evaluation": 3.0})])
