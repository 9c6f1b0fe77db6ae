"""Weights and optimiser state as bytes: tensors and plain data only, so that loading one runs no code."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

_DIGEST_SIZE = 16


def dump_state(state: Mapping[str, Any]) -> bytes:
    """A digest, then the state: `torch.load` does not detect a flipped bit."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    return _digest(content) + content


def parse_state(content: bytes) -> dict[str, Any]:
    """The inverse of `dump_state`, on the CPU.

    Raises:
        ValueError: the content is damaged.
        Exception: whatever torch raises on a file that another version wrote.
    """
    digest, saved = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    if digest != _digest(saved):
        raise ValueError(f"its {len(content)} bytes do not fit their digest")
    state: dict[str, Any] = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    return state


def dump_weights(network: torch.nn.Module) -> bytes:
    """The network's state as safetensors: equal weights are equal bytes. Weights that are shared are written twice."""
    return dump_tensors(network.state_dict())


def dump_tensors(weights: Mapping[str, torch.Tensor]) -> bytes:
    """The same of a `state_dict`."""
    content: bytes = save_safetensors(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}
    )
    return content


def parse_weights(content: bytes) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_safetensors(content)
    return weights


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()
