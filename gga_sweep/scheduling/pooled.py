"""Results of several cells for one searcher: ranks are comparable across cells, scores only within one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from gga_sweep.scheduling.results import Result


def pooled(cells: Iterable[Sequence[Result]]) -> Iterator[Result]:
    """Every result with its rank in its own cell for a score, draw by draw: first each cell's first result.

    The rank is the share of the cell's other results that are lower, ties counting half, in [0, 1]; 0.5 for a single
    result. A run that was stopped early ranks below all that were not, and below those that were stopped later.
    """
    ranked = [_ranked(results) for results in cells]
    for position in range(max(map(len, ranked), default=0)):
        yield from (results[position] for results in ranked if position < len(results))


def _ranked(results: Sequence[Result]) -> list[Result]:
    keys = [(result.stopped_at is None, result.stopped_at or 0, result.score) for result in results]
    return [
        replace(result, score=_share_beaten(keys, position), stopped_at=None) for position, result in enumerate(results)
    ]


def _share_beaten(keys: Sequence[tuple[bool, int, float]], position: int) -> float:
    others = [*keys[:position], *keys[position + 1 :]]
    if not others:
        return 0.5
    own = keys[position]
    return sum(1.0 if own > other else 0.5 if own == other else 0.0 for other in others) / len(others)
