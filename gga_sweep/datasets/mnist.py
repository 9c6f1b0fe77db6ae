"""RotatedMNIST and ColoredMNIST, made from MNIST's own four files as DomainBed makes them.

Source: facebookresearch/DomainBed at b93c22a, domainbed/datasets.py: training and test images are put end to end,
shuffled, and every n-th goes to one of n domains. DomainBed takes its random numbers from the seed of a run, so that
each run deals, flips and colours anew. Ours are from constant streams: the data are the same for all runs.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gga_sweep.datasets.dataset import Dataset, DatasetDescription, Domain
from gga_sweep.errors import Fault, InputError
from gga_sweep.input_files import read_regular
from gga_sweep.seeding import stream

if TYPE_CHECKING:  # a sweep is planned without loading torch
    from torch import Tensor

ROTATED = "RotatedMNIST"
COLORED = "ColoredMNIST"
ANGLES = (0, 15, 30, 45, 60, 75)  # degrees
ROTATED_CLASSES = tuple(str(digit) for digit in range(10))
COLORED_CLASSES = ("5 to 9", "0 to 4")
COLOUR_FLIPS: Mapping[str, float] = {"90": 0.1, "80": 0.2, "10": 0.9}
"""By domain of ColoredMNIST, how often the colour is not that of the label; its name is the percentage that agree."""

SIZE = 28
NEEDS = "the folder that holds MNIST's four files, in MNIST/raw or directly"
DEALT_ONCE = "the digits are dealt to the domains once for all runs (DomainBed's: anew in each run)"

_PUBLISHED = 70_000
_LABEL_FLIPS = 0.25
_RECIPE = 1  # part of the digests; increased when the images are made in another way
_DATA_SEED = 0

_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_LARGEST = 2**28  # bytes of a file: MNIST's largest has a fifth of it
_IMAGES_MAGIC, _LABELS_MAGIC = 0x803, 0x801  # unsigned bytes in three dimensions, in one


@dataclass(frozen=True, eq=False)
class Digits:
    """MNIST, its training images before its test images.

    Args:
        images: (n, 28, 28) uint8.
        labels: (n,) uint8 in 0..9.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def rotated_mnist(root: Path) -> Dataset:
    """RotatedMNIST: each domain is rotated by one of 0 to 75 degrees; (1, 28, 28) uint8, 10 classes."""
    from PIL import Image

    digits = read_digits(root)
    domains = []
    for angle, indices in zip(ANGLES, _deal(ROTATED, len(ANGLES), len(digits)), strict=True):
        turned = np.empty((len(indices), 1, SIZE, SIZE), np.uint8)
        for row, index in enumerate(indices):
            turned[row, 0] = np.asarray(Image.fromarray(digits.images[index]).rotate(angle, Image.Resampling.BILINEAR))
        labels = digits.labels[indices].astype(np.int64)
        domains.append(Domain(str(angle), _tensor(turned), _tensor(labels), _sample_ids(indices)))
    return Dataset(ROTATED, ROTATED_CLASSES, tuple(domains), rotated_mnist_digest(root), normalise=False)


def colored_mnist(root: Path) -> Dataset:
    """ColoredMNIST: two channels, of which one holds the digit; (2, 28, 28) uint8, two classes.

    The label is whether the digit is below 5, flipped with probability 1/4. The colour is the flipped label, flipped
    with the domain's probability. Every flip is drawn by itself.
    """
    digits = read_digits(root)
    domains = []
    for name, (indices, labels, colours) in _colourings(digits).items():
        images = np.zeros((len(indices), 2, SIZE, SIZE), np.uint8)
        images[np.arange(len(indices)), colours] = digits.images[indices]
        domains.append(Domain(name, _tensor(images), _tensor(labels), _sample_ids(indices)))
    return Dataset(COLORED, COLORED_CLASSES, tuple(domains), colored_mnist_digest(root), normalise=False)


def rotated_mnist_digest(root: Path) -> str:
    """Over MNIST's content and its distribution to domains; the same for packed and unpacked files."""
    digits = read_digits(root)
    dealt = _deal(ROTATED, len(ANGLES), len(digits))
    return _digest(ROTATED, digits, {str(angle): (indices,) for angle, indices in zip(ANGLES, dealt, strict=True)})


def colored_mnist_digest(root: Path) -> str:
    """Over MNIST's content, its distribution to domains, the labels and the colours."""
    digits = read_digits(root)
    return _digest(COLORED, digits, _colourings(digits))


def describe_rotated_mnist(root: Path | None) -> DatasetDescription:
    """The description of RotatedMNIST from the files in a root; without one, as published."""
    sizes = _sizes(root, tuple(map(str, ANGLES)))
    return DatasetDescription(ROTATED, sizes, 10, ROTATED_CLASSES, (1, SIZE, SIZE), available=root is not None)


def describe_colored_mnist(root: Path | None) -> DatasetDescription:
    """The description of ColoredMNIST from the files in a root; without one, as published."""
    remarks = ("a stress test of selection: validation favours colour, which fails on domain 10",)
    sizes = _sizes(root, tuple(COLOUR_FLIPS))
    shape = (2, SIZE, SIZE)
    return DatasetDescription(COLORED, sizes, 2, COLORED_CLASSES, shape, available=root is not None, remarks=remarks)


def read_digits(root: Path) -> Digits:
    """MNIST from its files: `train-images-idx3-ubyte` and so on, also as `.gz`, in `root/MNIST/raw` or in `root`.

    Read once per process, while sizes and modification times are unchanged.

    Raises:
        InputError: naming every file that is missing, with the folders looked in; or that cannot be read, is truncated,
            has another magic number, or does not fit the others.
    """
    files = _find(root)
    stamps = []
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise InputError([_unreadable(error)], source=str(file)) from error
        stamps.append((file, status.st_size, status.st_mtime_ns))
    return _read(tuple(stamps))


def _find(root: Path) -> list[Path]:
    """The four files, unpacked ones first, all of one folder: the first that has one."""
    folders = (root / "MNIST" / "raw", root)
    for folder in folders:
        found = {name: _first_of(folder / name, folder / f"{name}.gz") for name in _FILES}
        if any(found.values()) or folder == folders[-1]:
            break
    if missing := [name for name, file in found.items() if file is None]:
        looked_in = ", ".join(map(str, folders if len(missing) == len(_FILES) else (folder,)))
        rule = f"must be {NEEDS}, each plain or .gz; lacks {missing} (looked in {looked_in})"
        raise InputError([Fault("dataset.root", rule)])
    return [file for file in found.values() if file is not None]


def _first_of(*files: Path) -> Path | None:
    return next((file for file in files if file.is_file()), None)


@lru_cache(maxsize=1)
def _read(stamps: tuple[tuple[Path, int, int], ...]) -> Digits:
    arrays: list[np.ndarray] = []
    for file, _, _ in stamps:
        try:
            arrays.append(_parsed(_content(file), images="idx3" in file.name))
        except (OSError, ValueError) as error:
            fault = _unreadable(error) if isinstance(error, OSError) else Fault("dataset.root", str(error))
            raise InputError([fault], source=str(file)) from error
    images, labels = arrays[0::2], arrays[1::2]
    for (file, _, _), shown, named in zip(stamps[1::2], images, labels, strict=True):
        if len(shown) != len(named):
            fault = Fault("dataset.root", f"must hold a label for each of {len(shown)} images", len(named))
            raise InputError([fault], source=str(file))
    return Digits(np.concatenate(images), np.concatenate(labels))


def _content(file: Path) -> bytes:
    packed = read_regular(file, _LARGEST)
    if file.suffix != ".gz":
        return packed
    with gzip.open(BytesIO(packed)) as unpacked:
        try:
            return unpacked.read(_LARGEST)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"must be a whole .gz file ({error})") from error


def _parsed(content: bytes, images: bool) -> np.ndarray:
    """The array of a file in MNIST's format: big-endian magic number, sizes, bytes. ValueError at any fault."""
    magic, n_sizes = (_IMAGES_MAGIC, 3) if images else (_LABELS_MAGIC, 1)
    header = 4 * (1 + n_sizes)
    if len(content) < header:
        raise ValueError(f"must begin with a header of {header} bytes, has {len(content)}")
    found, *shape = struct.unpack(f">{1 + n_sizes}I", content[:header])
    if found != magic:
        raise ValueError(f"must begin with the magic number {magic:#010x}, got {found:#010x}")
    if images and shape[1:] != [SIZE, SIZE]:
        raise ValueError(f"must hold images of {SIZE} x {SIZE} pixels, got {shape[1]} x {shape[2]}")
    needed = header + int(np.prod(shape, dtype=object))
    if len(content) != needed or shape[0] == 0:
        raise ValueError(f"must have {needed:,} bytes for {shape[0]:,} entries, one or more, has {len(content):,}")
    array = np.frombuffer(content, np.uint8, offset=header).reshape(shape)
    if not images and array.max() > 9:
        raise ValueError(f"must hold labels in 0..9, got {array.max()}")
    return array


def _unreadable(error: OSError) -> Fault:
    return Fault("dataset.root", f"file must be readable ({error.strerror or error})")


def _sizes(root: Path | None, domains: tuple[str, ...]) -> dict[str, int]:
    """Of each domain: every n-th digit."""
    n = _PUBLISHED if root is None else len(read_digits(root))
    return {name: len(range(first, n, len(domains))) for first, name in enumerate(domains)}


def _deal(dataset: str, n_domains: int, n: int) -> list[np.ndarray]:
    """By domain, its digits: all n permuted, of which every n_domains-th goes to the same one."""
    permuted = stream(dataset, _DATA_SEED, "deal").permutation(n)
    return [permuted[first::n_domains] for first in range(n_domains)]


def _colourings(digits: Digits) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By domain of ColoredMNIST: indices into the digits, labels and colours, int64."""
    coloured = {}
    for (name, often), indices in zip(
        COLOUR_FLIPS.items(), _deal(COLORED, len(COLOUR_FLIPS), len(digits)), strict=True
    ):
        labels = (digits.labels[indices] < 5) ^ (_uniform("flip", name, len(indices)) < _LABEL_FLIPS)
        colours = labels ^ (_uniform("colour", name, len(indices)) < often)
        coloured[name] = (indices, labels.astype(np.int64), colours.astype(np.int64))
    return coloured


def _uniform(purpose: str, domain: str, n: int) -> np.ndarray:
    return stream(COLORED, _DATA_SEED, purpose, domain).random(n)


def _tensor(array: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(array)


def _sample_ids(indices: np.ndarray) -> tuple[str, ...]:
    return tuple(f"mnist-{index}" for index in indices.tolist())


def _digest(dataset: str, digits: Digits, domains: Mapping[str, tuple[np.ndarray, ...]]) -> str:
    digest = hashlib.blake2b(repr((dataset, _RECIPE, tuple(domains), len(digits))).encode(), digest_size=16)
    digest.update(digits.images.data)
    digest.update(digits.labels.data)
    for array in (array for arrays in domains.values() for array in arrays):
        digest.update(np.ascontiguousarray(array, dtype="<i8").data)
    return digest.hexdigest()
