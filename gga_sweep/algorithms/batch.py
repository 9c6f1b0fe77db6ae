"""The inputs of an algorithm's step: minibatches, dropout masks, random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gga_sweep.datasets import Minibatch


class Batch:
    """One step's minibatches, one a training domain, in dataset order.

    Args:
        minibatches: at least one; their sizes are equal in a run.
        draw_mask: returns the dropout mask of one domain's rows, (its rows, features); None at rate 0.
        numbers: returns the newly seeded generator of the step's draws for one purpose.
    """

    def __init__(
        self,
        minibatches: Sequence[Minibatch],
        draw_mask: Callable[[int], Tensor | None],
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
        """The step's dropout mask, by domain."""
        return tuple(map(self._draw_mask, range(len(self))))

    @cached_property
    def mask(self) -> Tensor | None:
        """The same of the concatenated minibatches."""
        return concatenate_masks(self.masks)

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """A tensor with a row an image, by domain."""
        return torch.split(rows, self.rows)


def concatenate_masks(masks: Sequence[Tensor | None]) -> Tensor | None:
    """Masks of several domains as one; None if there is no dropout."""
    present = [mask for mask in masks if mask is not None]
    return torch.cat(present) if present else None
