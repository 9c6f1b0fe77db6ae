"""Trials start in the order of Tune's own scheduler, and ended trials cost nothing."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from gga_sweep.ray_backend.fifo import FIFO

STATUSES = (Trial.PENDING, Trial.RUNNING, Trial.PAUSED, Trial.TERMINATED, Trial.ERROR)


class LookedAt:
    """What a scheduler reads of a trial; counts how often."""

    def __init__(self) -> None:
        self._status = Trial.PENDING
        self.looks = 0

    @property
    def status(self) -> str:
        self.looks += 1
        return self._status

    @status.setter
    def status(self, status: str) -> None:
        self._status = status

    def is_finished(self) -> bool:
        return self.status in (Trial.ERROR, Trial.TERMINATED)


class Experiment:
    """As Tune's controller keeps its trials."""

    def __init__(self) -> None:
        self.trials: list[LookedAt] = []
        self.fifo: Any = FIFO()
        self.controller = SimpleNamespace(get_trials=lambda: self.trials)

    def add(self) -> None:
        self.trials.append(LookedAt())
        self.fifo.on_trial_add(self.controller, self.trials[-1])

    def take_up_again(self, trial: LookedAt) -> None:
        """After a failure."""
        trial.status = Trial.PENDING
        self.trials.append(self.trials.pop(self.trials.index(trial)))
        self.fifo.on_trial_add(self.controller, trial)

    def chosen(self) -> Any:
        return self.fifo.choose_trial_to_run(self.controller)


def test_it_chooses_the_same_trial_as_tunes_scheduler() -> None:
    tunes: Any = FIFOScheduler()
    for seed in range(50):
        numbers, experiment = random.Random(seed), Experiment()
        for _ in range(60):
            alive = [trial for trial in experiment.trials if not trial.is_finished()]
            kind = numbers.randrange(4)
            if kind == 0 or not alive:
                experiment.add()
            elif kind == 1:
                experiment.take_up_again(numbers.choice(alive))
            else:
                numbers.choice(alive).status = numbers.choice(STATUSES)
            assert experiment.chosen() is tunes.choose_trial_to_run(experiment.controller)


def test_ended_trials_are_not_read_again() -> None:
    experiment = Experiment()
    for _ in range(100):
        experiment.add()
    for trial in experiment.trials[:90]:
        trial.status = Trial.TERMINATED
    assert experiment.chosen() is experiment.trials[90]
    for trial in experiment.trials:
        trial.looks = 0
    assert experiment.chosen() is experiment.trials[90]
    assert sum(trial.looks for trial in experiment.trials[:90]) == 0
