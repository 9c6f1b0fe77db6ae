"""A first-in, first-out scheduler whose cost does not grow with the trials that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


class FIFO(FIFOScheduler):  # type: ignore[misc]  # ray is untyped
    """Chooses the same trial as Tune's `FIFOScheduler`, which searches every trial of the experiment at every step.

    In a wave of 3,000 runs that took 0.4 ms a run at first and 1.4 ms at the end; nothing else in the driver grew.
    """

    def __init__(self) -> None:
        super().__init__()
        self._left: list[Trial] = []

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Also called when a trial is retried after its actor was lost: Tune puts it last."""
        self._left = [*(other for other in self._left if other is not trial), trial]

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        self._left = [trial for trial in self._left if not trial.is_finished()]
        for status in (Trial.PENDING, Trial.PAUSED):
            if chosen := next((trial for trial in self._left if trial.status == status), None):
                return chosen
        return None
