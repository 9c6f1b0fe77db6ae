"""A sampler that a sweep file names, for one cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gga_sweep.records import Scalar
from gga_sweep.scheduling.results import Result
from gga_sweep.spec.samplers import CellStudy

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True, slots=True)
class SuggestedDraw:
    """A draw that the sampler suggested."""

    draw: int


@dataclass(frozen=True, slots=True)
class EndedDraw:
    """The end of a draw.

    Args:
        values: by dotted name.
        result: None if a run of it failed.
    """

    draw: int
    values: Mapping[str, Scalar]
    result: Result | None


class SamplerSearch:
    """Suggests the draws of one cell by a sampler.

    A sampler may keep a state between suggestions, such as a generation of draws. That state is not stored: the same
    history, replayed from its start, gives it again after a restart.

    Args:
        new_study: returns a study without trials, whose sampler has the seed of the cell.
    """

    def __init__(self, new_study: Callable[[], CellStudy]) -> None:
        self._new_study, self._study = new_study, new_study()
        self._done: list[SuggestedDraw | EndedDraw] = []
        self._open: dict[int, Trial] = {}

    def suggest(self, history: Sequence[SuggestedDraw | EndedDraw]) -> dict[str, Scalar]:
        """The values of the last draw of a history, which must end with a `SuggestedDraw`.

        A draw whose values are not those of the replay, since a failed run before it was trained again, is added as one
        that the sampler did not suggest.
        """
        if [*history[: len(self._done)]] != self._done:
            self._study, self._done, self._open = self._new_study(), [], {}
        for event in history[len(self._done) :]:
            if isinstance(event, SuggestedDraw):
                self._open[event.draw] = self._study.ask()
            else:
                self._tell(event, self._open.pop(event.draw, None))
            self._done.append(event)
        return self._study.values_of(self._open[history[-1].draw])

    def _tell(self, event: EndedDraw, trial: Trial | None) -> None:
        result, suggested = event.result, trial is not None and self._study.is_of(trial, event.values)
        if trial is not None and suggested and result is not None:
            self._study.tell(trial, result.score, result.stopped_at)
            return
        if trial is not None:
            self._study.abandon(trial)
        if result is not None:
            self._study.add(event.values, result.score, result.stopped_at)
