"""Scoring has no side effects: buffers and random number generators are restored, also after an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def copies(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Detached copies."""
    return tuple(tensor.detach().clone() for tensor in tensors)


@torch.no_grad()
def overwrite(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy the values into the tensors, bit for bit."""
    torch._foreach_copy_(list(tensors), list(values))


@torch.no_grad()
def exchange(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Exchange the tensors and the values, bit for bit, with memory for one of them at a time."""
    for tensor, value in zip(tensors, values, strict=True):
        held = tensor.clone()
        tensor.copy_(value)
        value.copy_(held)


class Buffers:
    """A copy of buffers (batch-norm statistics, step counters, power iterations), to restore them."""

    def __init__(self, tensors: Sequence[Tensor] = ()) -> None:
        self._tensors = tuple(tensors)
        self._values = copies(self._tensors)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Restore them at the end, bit for bit."""
        try:
            yield
        finally:
            if self._tensors:
                overwrite(self._tensors, self._values)


@contextmanager
def unchanged_random_state(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restore torch's global generators at the end: the CPU's and those of the CUDA devices these tensors are on."""
    cuda_devices = {tensor.get_device() for tensor in tensors if tensor.is_cuda}
    with torch.random.fork_rng(sorted(cuda_devices)):
        yield
