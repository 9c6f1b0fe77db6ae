"""Every random draw is a function of what it is for.

A stream is named by dataset, trial seed, purpose and indices, and by nothing else: never by arm, algorithm, draw or
test domains. So arms see the same images in the same order, annealing consumes nothing of training's randomness, and
there is no generator state to save, to restore or to leak from one run into the next.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Index = int | str


def stream_seed(dataset: str, trial_seed: int, purpose: str, *indices: Index) -> int:
    """The seed of a stream, in [0, 2**63).

    Args:
        dataset: the dataset's name (not its digest: a changed image must not move the minibatches).
        trial_seed: non-negative.
        purpose: what the numbers are for, e.g. "minibatch".
        indices: which of them, e.g. (step, domain, position). `1` and `"1"` are different streams.
    """
    name = repr((dataset, trial_seed, purpose, *indices)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1


def stream(dataset: str, trial_seed: int, purpose: str, *indices: Index) -> np.random.Generator:
    """A numpy generator for small draws: indices, permutations, augmentation parameters, hyperparameters."""
    return np.random.Generator(np.random.Philox(key=stream_seed(dataset, trial_seed, purpose, *indices)))


def tensor_stream(
    dataset: str, trial_seed: int, purpose: str, *indices: Index, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator for large draws: initial weights, dropout masks, perturbations."""
    import torch  # not at the top: planning a sweep draws hyperparameters without loading torch

    generator = torch.Generator(device=device)
    generator.manual_seed(stream_seed(dataset, trial_seed, purpose, *indices))
    return generator


def seed_hash(*args: object) -> int:
    """DomainBed's `seed_hash`: md5 of the tuple's `str`, modulo 2**31.

    Source: facebookresearch/DomainBed, domainbed/lib/misc.py. For the `domainbed` and `gga-paper` protocols only.
    """
    return int(hashlib.md5(str(args).encode(), usedforsecurity=False).hexdigest(), 16) % 2**31
