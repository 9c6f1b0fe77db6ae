"""Many tensors seen as one flat vector: their entries in order, each tensor in row-major order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

CHUNK = 1 << 17
"""Entries taken to float64, or worked on in place, at a time: 1 MiB, which a CPU's cache holds."""


def entry_count(tensors: Sequence[Tensor]) -> int:
    """Length of the flat vector."""
    return sum(tensor.numel() for tensor in tensors)


def working_dtype(tensors: Sequence[Tensor]) -> torch.dtype:
    """float64 if any tensor is, else float32: half precision loses the differences between candidates."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def pieces(flat: Tensor, tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """For each tensor the view of `flat`, (entries,), that belongs to it, in the tensor's shape."""
    offset = 0
    for tensor in tensors:
        yield flat[offset : offset + tensor.numel()].view(tensor.shape)
        offset += tensor.numel()


def chunks(vectors: Tensor) -> tuple[Tensor, ...]:
    """Views of (..., entries), `CHUNK` entries each."""
    return torch.split(vectors, CHUNK, dim=-1)
