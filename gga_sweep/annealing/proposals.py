"""Candidates: where the search looks next.

A candidate is a path: the indices of the displacements that are added, in order, to the weights the step began with.
Only the path is kept; a displacement is made again from its index whenever it is needed, so memory does not grow with
the number of candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gga_sweep.annealing.flat import pieces
from gga_sweep.annealing.isolation import copies, overwrite
from gga_sweep.annealing.settings import Origin

Path = tuple[int, ...]


def uniform_noise(generator: torch.Generator, entries: int, radius: float, dtype: torch.dtype) -> Tensor:
    """A flat vector (entries,) of independent U(-radius, radius), on the generator's device."""
    return torch.empty(entries, dtype=dtype, device=generator.device).uniform_(-radius, radius, generator=generator)


def candidate_path(origin: Origin, candidate: int, last_accepted: int | None, best: Path) -> Path:
    """The path of a candidate.

    Args:
        origin: around what it is drawn, see `AnnealingSettings`.
        candidate: its index, 0, 1, ...
        last_accepted: index of the last accepted candidate, None before the first.
        best: path of the best point so far, () before the first acceptance.
    """
    if origin == "start":
        return (candidate,)
    if origin == "accepted":
        return (*best, candidate)
    walk_began = 0 if last_accepted is None else last_accepted + 1
    return tuple(range(walk_began, candidate + 1))


class MovableWeights:
    """Parameters that are moved to the points that paths name, in place.

    Every point is reached by copying the start and adding displacements in the order of the path (only those still
    missing, where the path goes on from the present one), never by subtracting, so a point has the same bits
    whichever way the weights came to it.

    Args:
        parameters: moved in place, at least one; where they are now is the start.
        displacement: gives the flat displacement (entries,) of an index, the same at each call.
    """

    def __init__(self, parameters: Sequence[Tensor], displacement: Callable[[int], Tensor]) -> None:
        if not parameters:
            raise ValueError("at least one parameter must be perturbed, got none")
        self._parameters = tuple(parameters)
        self._displacement = displacement
        self.start = copies(self._parameters)
        self.path: Path = ()

    def move_to(self, path: Path) -> None:
        """Put the weights at a point; `()` is the start."""
        if path[: len(self.path)] != self.path:
            self.restore()
        for index in path[len(self.path) :]:
            self._add(self._displacement(index))
        self.path = path

    def restore(self) -> None:
        """Put the weights back to the start, bit for bit, wherever they are."""
        overwrite(self._parameters, self.start)
        self.path = ()

    def distance(self) -> float:
        """L2 distance of the present weights from the start, summed in float64."""
        squares = [
            float((parameter.detach().double() - start.double()).square().sum())
            for parameter, start in zip(self._parameters, self.start, strict=True)
        ]
        return math.sqrt(math.fsum(squares))

    @torch.no_grad()
    def _add(self, displacement: Tensor) -> None:
        for parameter, piece in zip(self._parameters, pieces(displacement, self._parameters), strict=True):
            parameter.add_(piece.to(parameter.device))
