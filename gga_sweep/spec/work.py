"""The number of evaluations and annealed steps that a run has left."""

from __future__ import annotations

from gga_sweep.spec.models import RunSpec, TrainingSettings


def evaluations(training: TrainingSettings, trained: int = 0) -> int:
    """Evaluations to come, of `TrainingSettings.evaluated_steps`: counted, not listed.

    Args:
        trained: steps done; those evaluations are behind.
    """
    every, last = training.evaluate_every, training.steps - 1
    following = -(-trained // every) * every  # the first that is divisible, from there on
    return len(range(following, last, every)) + (trained <= last)


def annealed_steps(config: RunSpec, trained: int = 0) -> int:
    """Steps to come that lie in the window; 0 where the run has none.

    Args:
        trained: steps done.
    """
    window = range(0) if config.annealing is None else config.annealing.window
    return len(range(max(window.start, trained), min(window.stop, config.training.steps)))
