"""Weights and optimiser state as bytes: tensors and plain data only, so that loading one runs no code."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors


def dump_state(state: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def parse_state(content: bytes) -> dict[str, Any]:
    """The inverse of `dump_state`, on the CPU.

    Raises:
        Exception: whatever torch raises on a damaged file.
    """
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def dump_weights(network: torch.nn.Module) -> bytes:
    """The network's state as safetensors: equal weights are equal bytes."""
    content: bytes = save_safetensors(
        {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    )
    return content


def parse_weights(content: bytes) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_safetensors(content)
    return weights
