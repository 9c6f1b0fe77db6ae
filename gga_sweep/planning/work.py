"""What a run has to do, counted: its evaluations and its annealed steps."""

from __future__ import annotations

from gga_sweep.config import RunConfig, TrainingSettings


def evaluations(training: TrainingSettings, trained: int = 0) -> int:
    """Evaluations to come: at each step divisible by `evaluate_every`, and at the last.

    Args:
        trained: steps done; those evaluations are behind.
    """
    every, last = training.evaluate_every, training.steps - 1
    if trained > last:
        return 0
    behind = 0 if trained == 0 else (trained - 1) // every + 1
    return last // every + 1 - behind + (last % every > 0)


def annealed_steps(config: RunConfig, trained: int = 0) -> int:
    """Steps to come that lie in the window; 0 where the run has none.

    Args:
        trained: steps done.
    """
    annealing = config.annealing or {}
    start = int(annealing.get("start_step", 0))
    end = min(config.training.steps, start + int(annealing.get("num_steps", 0)))
    return max(0, end - max(start, trained))
