"""Candidates: the points that the candidate search scores.

A candidate is a path: the indices of the displacements that are added, in order, to the weights at the start of the
step. Only the path is stored; a displacement is computed again from its index when it is needed, so memory does not
grow with the number of candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gga_sweep.annealing.flat import chunks, entry_count, pieces, working_dtype
from gga_sweep.annealing.isolation import copies, overwrite
from gga_sweep.annealing.options import Origin

Path = tuple[int, ...]

_MOST_UNMOVED = 0.1
"""Share of the entries that may round back to their old values."""


class Displacement(NamedTuple):
    """The change of each parameter: its piece times the scale."""

    pieces: list[Tensor]
    scale: float


def uniform_noise(generator: torch.Generator, parameters: Sequence[Tensor], radius: float) -> Displacement:
    """Independent U(-radius, radius) on every entry, drawn as one flat vector on the generator's device."""
    noise = torch.empty(entry_count(parameters), dtype=working_dtype(parameters), device=generator.device)
    noise.uniform_(-radius, radius, generator=generator)
    return Displacement(list(pieces(noise.to(parameters[0].device), parameters)), 1.0)


def random_signs(generator: torch.Generator, parameters: Sequence[Tensor]) -> Tensor:
    """Independent -1 and 1, equally likely, a flat vector (entries,) of int8 on the parameters' device."""
    coins = torch.randint(2, (entry_count(parameters),), generator=generator, device=generator.device, dtype=torch.int8)
    return (2 * coins - 1).to(parameters[0].device)


def halved_step(signs: Tensor, parameters: Sequence[Tensor], radius: float, halvings: int) -> Displacement:
    """The step from the centre of the box to the corner of these signs, or half, a quarter, ... of it.

    Args:
        signs: (entries,), of int8, -1, 0 or 1.
    """
    return Displacement(list(pieces(signs, parameters)), radius * 0.5**halvings)


def candidate_path(origin: Origin, candidate: int, last_accepted: int | None, best: Path) -> Path:
    """The path of a candidate.

    Args:
        origin: the centre of its box, see `GGA`.
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
    """Parameters that can be moved to the points of paths, in place.

    A point is reached by copying the start and adding the displacements of its path in order, never by subtracting. (If
    the path extends the present one, only the remaining displacements are added.) So a point always has the same bits.

    Args:
        parameters: moved in place, at least one; their present values are the start.
        displacement: returns the displacement of an index, the same at each call.

    Raises:
        ValueError: if there is no parameter; at the first move, if the displacement vanishes in their precision.
    """

    def __init__(self, parameters: Sequence[Tensor], displacement: Callable[[int], Displacement]) -> None:
        if not parameters:
            raise ValueError("at least one parameter must be perturbed, got none")
        self._parameters = tuple(parameters)
        self._displacement = displacement
        self.start: tuple[Tensor, ...] = ()  # copied at the first move: until then the memory is free for other things
        self.path: Path = ()
        self._moves = False

    def move_to(self, path: Path) -> None:
        """Move the weights to a point; `()` is the start."""
        if path and not self.start:
            self.start = copies(self._parameters)
        if path[: len(self.path)] != self.path:
            self.restore()
        for index in path[len(self.path) :]:
            self._add(self._displacement(index))
        self.path = path

    def restore(self) -> None:
        """Move the weights back to the start, bit for bit."""
        if self.start:
            overwrite(self._parameters, self.start)
        self.path = ()

    def distance(self) -> float:
        """L2 distance of the present weights from the start, summed in float64."""
        if not self.path:
            return 0.0
        squares = [
            (now.double() - then.double()).square().sum()
            for parameter, start in zip(self._parameters, self.start, strict=True)
            for now, then in zip(_flat_chunks(parameter.detach()), _flat_chunks(start), strict=True)
        ]
        return math.sqrt(math.fsum(torch.stack(squares).tolist()))

    @torch.no_grad()
    def _add(self, displacement: Displacement) -> None:
        torch._foreach_add_(list(self._parameters), displacement.pieces, alpha=displacement.scale)
        if displacement.scale and not self._moves:
            self._moves = True
            self._check_that_it_moves(displacement)

    def _check_that_it_moves(self, displacement: Displacement) -> None:
        perturbed, unmoved = [], []
        for tensors in zip(self._parameters, self.start, displacement.pieces, strict=True):
            for now, then, piece in zip(*map(_flat_chunks, tensors), strict=True):
                perturbed.append((piece != 0).sum())
                unmoved.append(((now == then) & (piece != 0)).sum())
        share = float(sum(unmoved) / max(sum(perturbed), 1))
        if share > _MOST_UNMOVED:
            dtypes = ", ".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in self._parameters}))
            raise ValueError(
                f"the radius vanishes in the weights' precision ({dtypes}): {share:.0%} of the perturbed entries did "
                f"not move, at most {_MOST_UNMOVED:.0%} may; use a larger radius or a wider type"
            )


def _flat_chunks(tensor: Tensor) -> tuple[Tensor, ...]:
    return chunks(tensor.flatten())
