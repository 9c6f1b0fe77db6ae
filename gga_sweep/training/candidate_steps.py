"""Which evaluations training-domain validation could choose, known while a run is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gga_sweep.records import ValidationRecord


class CandidateSteps:
    """Finds each evaluation that is the best so far: the first of equals, as in `selection.choice`.

    The last one found is what selection will choose, wherever training ends. It reads no test domain.

    Args:
        metric: by which steps are selected.
        first_step: the best since this step is found too, for `select_from: after-window`.
    """

    def __init__(self, metric: str, first_step: int = 0) -> None:
        self._metric = metric
        self._first_steps = (0, first_step)
        self._best = [-math.inf, -math.inf]

    def add(self, validation: ValidationRecord) -> bool:
        """Add the next evaluation; whether it could be selected."""
        is_best, score = False, validation.validation_mean(self._metric)
        for index, first_step in enumerate(self._first_steps):
            if validation.step >= first_step and self._best[index] < score < math.inf:
                self._best[index] = score
                is_best = True
        return is_best

    def state(self) -> list[float]:
        return list(self._best)

    def load_state(self, state: Sequence[float]) -> None:
        self._best = list(state)
