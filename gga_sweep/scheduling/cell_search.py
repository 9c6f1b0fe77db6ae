"""The interface of a searcher of one cell: from the results so far it suggests the next draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from gga_sweep.records import Scalar
from gga_sweep.scheduling.results import Result


class CellSearch(Protocol):
    """A searcher for one cell, or for cells that share their draws. It maximises.

    Deterministic: the same results in the same order give the same suggestion.
    """

    def tell(self, values: Mapping[str, Scalar], score: float) -> None:
        """Add the result of a run that was trained to its end."""

    def tell_pruned(self, values: Mapping[str, Scalar], step: int, score: float) -> None:
        """Add the result of a run that was stopped early: its score up to `step`."""

    def suggest(self) -> dict[str, Scalar]:
        """The next draw, by dotted name."""


def feed(search: CellSearch, results: Iterable[Result]) -> None:
    """Add known results to a searcher, in this order."""
    for result in results:
        if result.stopped_at is None:
            search.tell(result.values, result.score)
        else:
            search.tell_pruned(result.values, result.stopped_at, result.score)
