"""Each domain's training split and validation split, a function of the trial seed and the domain alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gga_sweep.datasets.dataset import Domain
from gga_sweep.errors import Fault, InputError
from gga_sweep.seeding import seed_hash, stream

SplitScheme = Literal["stream", "domainbed"]
SplitName = Literal["train", "validation"]


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into one domain: disjoint, together complete, int64, in the order of the permutation.

    Args:
        train: (n - int(holdout * n),)
        validation: (int(holdout * n),)
    """

    train: np.ndarray
    validation: np.ndarray


def split_domain(
    size: int,
    dataset: str,
    trial_seed: int,
    domain_name: str,
    domain_index: int,
    scheme: SplitScheme,
    holdout: float = 0.2,
) -> Split:
    """Permute a domain and hold out its first int(holdout * size) images for validation.

    Args:
        size: images in the domain.
        dataset: its name.
        trial_seed: non-negative.
        domain_name: names the stream of scheme "stream".
        domain_index: position in the dataset; seeds scheme "domainbed".
        scheme: "stream", or "domainbed" for DomainBed's own split (domainbed/lib/misc.py and scripts/train.py).
        holdout: in (0, 1).

    Raises:
        InputError: unknown scheme, holdout outside (0, 1), or a split that would be empty.
    """
    held_out = int(holdout * size)
    if not 0 < held_out < size:
        rule = f"must leave an image in each split of domain {domain_name!r} ({size} images)"
        raise InputError([Fault("training.holdout", rule, holdout)])
    if scheme == "stream":
        order = stream(dataset, trial_seed, "split", domain_name).permutation(size)
    elif scheme == "domainbed":
        keys = list(range(size))
        np.random.RandomState(seed_hash(trial_seed, domain_index)).shuffle(keys)
        order = np.array(keys, dtype=np.int64)
    else:
        raise InputError([Fault("training.split", "must be a known scheme", scheme, ("stream", "domainbed"))])
    return Split(train=order[held_out:], validation=order[:held_out])


def split_digest(sample_ids: Iterable[str]) -> str:
    """The digest of a split: 16 hex digits over its sample ids, in order.

    It is blake2b (8 bytes) of Python's `json.dumps(ids)`: a JSON list of ASCII text, with ", " between the ids.

    >>> split_digest(["art/cat/1.png", "art/cat/2.png"]) == split_digest(["art/cat/2.png", "art/cat/1.png"])
    False
    """
    return hashlib.blake2b(json.dumps(list(sample_ids)).encode(), digest_size=8).hexdigest()


def split_digests(domains: Iterable[Domain], splits: Mapping[str, Split]) -> dict[str, tuple[str, str]]:
    """By domain, the digests of its training and its validation split."""
    return {
        domain.name: (
            split_digest(domain.sample_ids[index] for index in splits[domain.name].train),
            split_digest(domain.sample_ids[index] for index in splits[domain.name].validation),
        )
        for domain in domains
    }
