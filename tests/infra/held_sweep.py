"""A sweep that stands still in the middle of its runs for as long as a test wants it to."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from gga_sweep.algorithms.batch import Batch
from gga_sweep.algorithms.erm import ERM

HOLD = "HELD_SWEEP_HOLD"
"""Names the file in an environment variable: while it is there, no run gets past its fifth step."""

HELD_AFTER_STEP = 3
"""Up to there a run that is held has been evaluated."""


class Held(ERM):
    """ERM that waits before its fifth step while the file is there."""

    HYPERPARAMETERS: dict[str, Any] = {}  # noqa: RUF012
    NUMERICS = 1

    def update(self, batch: Batch) -> Any:
        self.updates = getattr(self, "updates", 0) + 1
        while self.updates == 5 and HOLD in os.environ and Path(os.environ[HOLD]).exists():
            time.sleep(1.1)  # a run looks once a second whether it should stop: after so long it looks again
        return super().update(batch)


def held_sweep() -> dict[str, Any]:
    """Four runs of one CPU each, two of them annealed after the step at which they may be held."""
    annealing = {"method": "gga", "variant": "paper", "start_step": 5, "num_steps": 3, "num_candidates": 2}
    return {
        "name": "held",
        "dataset": {"name": "small_sweep:stripes"},
        "arms": [
            {"algorithm": "held_sweep:Held"},
            {"algorithm": "held_sweep:Held", "annealing": {**annealing, "radius": 1e-3}},
        ],
        "test_domains": ["north"],
        "trial_seeds": [0, 1],
        "defaults": {"lr": 1e-2, "batch_size": 4, "dropout": 0.2},
        "training": {"steps": 16, "evaluate_every": 3},
        "resources": {"cpus": 1},
    }
