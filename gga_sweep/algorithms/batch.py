"""The inputs of an algorithm's step: minibatches, dropout masks, random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gga_sweep.datasets import Minibatch
from gga_sweep.networks.network import concatenate_masks


class Batch:
    """One step's minibatches, one a training domain, in dataset order.

    Args:
        minibatches: at least one; their sizes are equal in a run.
        draw_mask: (domain, forward) -> the dropout mask of a domain's rows in one of the step's forwards, counted from
            0: (its rows, features); None at rate 0.
        numbers: returns the newly seeded generator of the step's draws for one purpose.
    """

    def __init__(
        self,
        minibatches: Sequence[Minibatch],
        draw_mask: Callable[[int, int], Tensor | None],
        numbers: Callable[[str], np.random.Generator],
    ) -> None:
        self.minibatches = tuple(minibatches)
        self.rows = [len(minibatch.labels) for minibatch in minibatches]
        self.numbers = numbers
        self._draw_mask = draw_mask

    def __len__(self) -> int:
        """How many domains."""
        return len(self.minibatches)

    @cached_property
    def images(self) -> Tensor:
        """Of all domains, concatenated: (sum of rows, channels, height, width)."""
        return torch.cat([minibatch.images for minibatch in self.minibatches])

    @cached_property
    def labels(self) -> Tensor:
        """(sum of rows,)"""
        return torch.cat([minibatch.labels for minibatch in self.minibatches])

    @cached_property
    def masks(self) -> tuple[Tensor | None, ...]:
        """The dropout mask of the step's first forward, by domain. The annealing scores under it too."""
        return tuple(self._draw_mask(domain, 0) for domain in range(len(self)))

    @cached_property
    def mask(self) -> Tensor | None:
        """The same of the concatenated minibatches."""
        return concatenate_masks(self.masks)

    def masks_of_forward(self, forward: int) -> tuple[Tensor | None, ...]:
        """The dropout masks, by domain, of one of the step's forwards, counted from 0."""
        return tuple(self.mask_of_forward(forward, domain) for domain in range(len(self)))

    def mask_of_forward(self, forward: int, domain: int) -> Tensor | None:
        """The same of one domain."""
        return self._draw_mask(domain, forward) if forward else self.masks[domain]

    def generator(self, purpose: str, device: torch.device) -> torch.Generator:
        """As `numbers`, on a device: for as many numbers as there are weights."""
        return torch.Generator(device).manual_seed(int(self.numbers(purpose).integers(2**63)))

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """A tensor with a row an image, by domain."""
        return torch.split(rows, self.rows)
