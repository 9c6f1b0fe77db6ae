"""The embedded datasets: scikit-learn's 1,797 real digits (8x8), rotated or coloured into domains.

Near-duplicates are neighbours in that collection, so the images are permuted before their distribution to domains;
each is in one domain only. All draws are from constant streams: the data are the same for every trial seed.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gga_sweep.datasets.dataset import Dataset, DatasetDescription, Domain
from gga_sweep.seeding import Index, stream

if TYPE_CHECKING:  # a sweep is planned without loading torch
    from torch import Tensor

ROTATED = "RotatedDigits"
COLORED = "ColoredDigits"
ANGLES = (0, 15, 30, 45, 60, 75)  # degrees
ROTATED_CLASSES = tuple(str(digit) for digit in range(10))
COLORED_CLASSES = ("5 to 9", "0 to 4")
COLOUR_AGREEMENT = {"90": 0.9, "80": 0.8, "10": 0.1}
SIZE = 28

_RECIPE = 1  # part of the digests; increased when the images are made in another way
_DATA_SEED = 0


@dataclass(frozen=True)
class Ceilings:
    """The accuracy, in [0, 1], that each cue alone can reach on a domain of ColoredDigits, from the realised counts.

    Args:
        shape: of predicting the label of the digit's shape before the flips.
        colour: of predicting label 0 for colour 0 and label 1 for colour 1, as learned from the first two domains.
    """

    shape: float
    colour: float


@dataclass(frozen=True, eq=False)
class Colouring:
    """One domain of ColoredDigits before it is painted; (n,) each.

    Args:
        indices: into scikit-learn's array.
        shapes: whether the digit is below 5 (0 or 1).
        labels: `shapes` after the flips.
        colours: the channel that is painted.
    """

    indices: np.ndarray
    shapes: np.ndarray
    labels: np.ndarray
    colours: np.ndarray


@lru_cache(maxsize=1)
def rotated_digits() -> Dataset:
    """RotatedDigits: six disjoint domains of 299 or 300 digits, rotated by 0 to 75 degrees; (1, 28, 28), 10 classes."""
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    classes = _source()[1]
    domains = []
    for angle, indices in zip(ANGLES, _deal(ROTATED, len(ANGLES)), strict=True):
        turned = transforms.rotate(_enlarged(indices), angle, interpolation=InterpolationMode.BILINEAR, fill=0.0)
        labels = torch.from_numpy(classes[indices])
        domains.append(Domain(str(angle), turned.clamp(0, 1), labels, _sample_ids(indices)))
    return Dataset(ROTATED, ROTATED_CLASSES, tuple(domains), rotated_digits_digest(), normalise=False)


@lru_cache(maxsize=1)
def colored_digits() -> Dataset:
    """ColoredDigits: three disjoint domains of 599 digits; (3, 28, 28), two classes. A stress test of selection.

    The label is whether the digit is below 5, flipped for a quarter. The colour agrees with the flipped label for
    90, 80 and 10 %, so that validation on the first two favours the cue that fails on the third. Two channels are
    colours, the third is zero (for networks that take photographs).
    """
    import torch

    domains = []
    for name, colouring in colourings().items():
        grey = _enlarged(colouring.indices)
        images = torch.zeros(len(grey), 3, SIZE, SIZE)
        images[torch.arange(len(grey)), torch.from_numpy(colouring.colours)] = grey[:, 0]
        domains.append(Domain(name, images, torch.from_numpy(colouring.labels), _sample_ids(colouring.indices)))
    return Dataset(COLORED, COLORED_CLASSES, tuple(domains), colored_digits_digest(), normalise=False)


def colored_digits_ceilings() -> Mapping[str, Ceilings]:
    """By domain of ColoredDigits, the accuracies that shape alone and colour alone can reach."""
    return {
        name: Ceilings(
            shape=float(np.mean(colouring.shapes == colouring.labels)),
            colour=float(np.mean(colouring.colours == colouring.labels)),
        )
        for name, colouring in colourings().items()
    }


def rotated_digits_digest() -> str:
    """Over scikit-learn's digits and their distribution to domains, not over the rotated pixels.

    The pixels may differ in the last bit between CPUs, which must not change the dataset's digest.
    """
    dealt = _deal(ROTATED, len(ANGLES))
    return _digest(ROTATED, {str(angle): (indices,) for angle, indices in zip(ANGLES, dealt, strict=True)})


def colored_digits_digest() -> str:
    """Over scikit-learn's digits, their distribution to domains, the labels and the colours."""
    return _digest(COLORED, {name: (c.indices, c.labels, c.colours) for name, c in colourings().items()})


def describe_rotated_digits() -> DatasetDescription:
    """The description of RotatedDigits; makes no image."""
    sizes = {str(angle): len(indices) for angle, indices in zip(ANGLES, _deal(ROTATED, len(ANGLES)), strict=True)}
    return DatasetDescription(ROTATED, sizes, 10, ROTATED_CLASSES, (1, SIZE, SIZE), available=True)


def describe_colored_digits() -> DatasetDescription:
    """The description of ColoredDigits, with the accuracy that each cue can reach; makes no image."""
    remarks = ["a stress test of selection: validation favours colour, which fails on domain 10"]
    for name, ceilings in colored_digits_ceilings().items():
        remarks.append(f"domain {name}: shape alone reaches {ceilings.shape:.3f}, colour alone {ceilings.colour:.3f}")
    sizes = {name: len(colouring.indices) for name, colouring in colourings().items()}
    shape = (3, SIZE, SIZE)
    return DatasetDescription(COLORED, sizes, 2, COLORED_CLASSES, shape, available=True, remarks=tuple(remarks))


@lru_cache(maxsize=1)
def colourings() -> Mapping[str, Colouring]:
    """By domain of ColoredDigits, its digits, labels and colours."""
    classes = _source()[1]
    dealt = _deal(COLORED, len(COLOUR_AGREEMENT))
    return {
        name: _colour(name, agreement, indices, (classes[indices] < 5).astype(np.int64))
        for (name, agreement), indices in zip(COLOUR_AGREEMENT.items(), dealt, strict=True)
    }


def _colour(name: str, agreement: float, indices: np.ndarray, shapes: np.ndarray) -> Colouring:
    flipped = np.zeros(len(indices), dtype=bool)
    for shape in (0, 1):
        flipped |= _some(shapes == shape, 1 / 4, "flip", name, shape)
    labels = np.where(flipped, 1 - shapes, shapes)
    agrees = np.zeros(len(indices), dtype=bool)
    for label in (0, 1):
        for flip in (0, 1):
            agrees |= _some((labels == label) & (flipped == flip), agreement, "colour", name, label, flip)
    return Colouring(indices, shapes, labels, np.where(agrees, labels, 1 - labels))


def _some(stratum: np.ndarray, share: float, purpose: str, *indices: Index) -> np.ndarray:
    """Exactly round(share * members) members of a stratum, drawn from a constant stream; both are (n,) bool."""
    members = np.flatnonzero(stratum)
    chosen = np.zeros_like(stratum)
    drawn = stream(COLORED, _DATA_SEED, purpose, *indices).permutation(members)
    chosen[drawn[: round(share * len(members))]] = True
    return chosen


@lru_cache(maxsize=1)
def _source() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits: (1797, 8, 8) uint8 in 0..16, and their (1797,) int64 classes.

    They are read as `sklearn.datasets.load_digits` does, whose import takes a second.
    """
    (package,) = find_spec("sklearn").submodule_search_locations  # type: ignore[union-attr, misc]
    with gzip.open(Path(package) / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    return table[:, :-1].reshape(-1, 8, 8).astype(np.uint8), table[:, -1].copy()


def _deal(dataset: str, n_domains: int) -> list[np.ndarray]:
    """Permuted within each class, the classes put end to end, image j goes to domain j mod n_domains.

    Returns, per domain, indices into scikit-learn's array: disjoint, complete, of sizes that differ by 1 at most.
    """
    classes = _source()[1]
    permuted = [
        stream(dataset, _DATA_SEED, "deal", digit).permutation(np.flatnonzero(classes == digit)) for digit in range(10)
    ]
    in_order = np.concatenate(permuted)
    return [in_order[domain::n_domains] for domain in range(n_domains)]


def _enlarged(indices: np.ndarray) -> Tensor:
    """(n, 1, 28, 28) float32 in [0, 1]: 8 x 8 enlarged to 24 x 24, bilinear, with two empty pixels around."""
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    grey = torch.from_numpy(_source()[0][indices]).float().unsqueeze(1) / 16
    large: Tensor = transforms.resize(grey, [24, 24], interpolation=InterpolationMode.BILINEAR)
    return torch.nn.functional.pad(large, (2, 2, 2, 2))


def _sample_ids(indices: np.ndarray) -> tuple[str, ...]:
    return tuple(f"digit-{index}" for index in indices)


def _digest(dataset: str, domains: Mapping[str, tuple[np.ndarray, ...]]) -> str:
    images, classes = _source()
    digest = hashlib.blake2b(repr((dataset, _RECIPE, tuple(domains))).encode(), digest_size=16)
    for array in (images, classes, *(array for arrays in domains.values() for array in arrays)):
        digest.update(np.ascontiguousarray(array, dtype="<i8").data)
    return digest.hexdigest()
