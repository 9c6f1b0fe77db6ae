"""Scoring must leave no trace: buffers and random number generators end as they began, also after an error."""

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
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


@contextmanager
def unchanged(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restore the tensors at the end by copy, bit for bit (batch-norm statistics, step counters, power iterations)."""
    before = copies(tensors)
    try:
        yield
    finally:
        overwrite(tensors, before)


@contextmanager
def unchanged_random_state(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restore torch's global generators at the end: the CPU's and those of the CUDA devices these tensors are on."""
    cuda_devices = {tensor.get_device() for tensor in tensors if tensor.is_cuda}
    with torch.random.fork_rng(sorted(cuda_devices)):
        yield
