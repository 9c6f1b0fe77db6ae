"""A dataset in memory: domains of images with labels, and the digest of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gga_sweep.errors import Fault, InputError

if TYPE_CHECKING:  # a sweep is planned without loading torch
    import numpy as np
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Domain:
    """One data distribution of a dataset.

    Args:
        name: unique in its dataset.
        images: (n, channels, size, size); uint8 in 0..255, or float32 as the network takes it (the digits: in
            [0, 1]). May be a read-only map of a file: copy images with `take`, never write to them.
        labels: (n,) int64, an index into the dataset's classes.
        sample_ids: n unique, stable names: a relative path, or "digit-<index>".
        file: the .npy file that `images` maps, from which data workers read them; None for images in memory.
    """

    name: str
    images: Tensor
    labels: Tensor
    sample_ids: tuple[str, ...]
    file: Path | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    def take(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Copies of the images (as stored) and labels at `indices`, (m,) int64."""
        import torch

        chosen = torch.from_numpy(indices)
        return self.images.index_select(0, chosen), self.labels[chosen]  # twice as fast as indexing


@dataclass(frozen=True, eq=False)
class Dataset:
    """Domains over the same classes.

    Args:
        name: the dataset's; together with the trial seed it names every stream of random numbers.
        classes: names; the label of an image is an index into them.
        domains: in dataset order (sorted folder names, for a tree of images).
        digest: identifies the content: equal digests mean equal images, labels and order.
        normalise: whether `prepare` applies ImageNet's mean and standard deviation, as photographs need.

    Raises:
        InputError: naming every inconsistency.
    """

    name: str
    classes: tuple[str, ...]
    domains: tuple[Domain, ...]
    digest: str
    normalise: bool

    def __post_init__(self) -> None:
        if faults := list(_misfits(self)):
            raise InputError(faults, source=f"dataset {self.name}")

    @property
    def domain_names(self) -> tuple[str, ...]:
        return tuple(domain.name for domain in self.domains)

    @property
    def domain_sizes(self) -> dict[str, int]:
        """Images in each domain."""
        return {domain.name: len(domain) for domain in self.domains}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = self.domains[0].images.shape[1:]
        return channels, height, width

    def domain(self, name: str) -> Domain:
        """The domain of that name; InputError if there is none."""
        for domain in self.domains:
            if domain.name == name:
                return domain
        raise InputError([Fault("domain", f"must be a domain of {self.name}", name, self.domain_names)])

    def prepare(self, images: Tensor) -> Tensor:
        """The input of a network: (m, channels, size, size) as stored -> float32, on the same device.

        Bytes are scaled to [0, 1]; photographs are then normalised by ImageNet's mean and standard deviation.
        """
        import torch

        floats = images.float()
        if images.dtype == torch.uint8:
            floats.div_(torch.full((), 255.0, device=images.device))  # CUDA multiplies by the reciprocal of a number
        if not self.normalise:
            return floats
        mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD]).to(images.device, non_blocking=True).view(2, 3, 1, 1)
        return (floats - mean if floats is images else floats.sub_(mean)).div_(std)


@dataclass(frozen=True)
class DatasetDescription:
    """The description of a dataset before its images are loaded.

    Args:
        name: the dataset's.
        domain_sizes: images in each domain, in dataset order: those found, or the published ones if `available` is
            False.
        n_classes: how many.
        classes: their names, in label order; None for a benchmark whose root is missing.
        image_shape: (channels, height, width) as stored.
        available: whether it can be loaded here.
        remarks: caveats for its numbers.
    """

    name: str
    domain_sizes: Mapping[str, int]
    n_classes: int
    classes: tuple[str, ...] | None
    image_shape: tuple[int, int, int]
    available: bool
    remarks: tuple[str, ...] = ()

    @property
    def domain_names(self) -> tuple[str, ...]:
        return tuple(self.domain_sizes)


def digest_of_tensors(domains: Sequence[Domain]) -> str:
    """The digest of a dataset made of tensors: 32 hex digits over names, sample ids, labels and every pixel."""
    digest = hashlib.blake2b(digest_size=16)
    for domain in domains:
        head = (domain.name, domain.sample_ids, str(domain.images.dtype), tuple(domain.images.shape))
        digest.update(repr(head).encode())
        digest.update(domain.labels.contiguous().numpy().data)
        for start in range(0, len(domain), 256):  # a mapped domain may exceed the memory
            digest.update(domain.images[start : start + 256].contiguous().numpy().data)
    return digest.hexdigest()


def _misfits(dataset: Dataset) -> Iterator[Fault]:
    if not dataset.digest:
        yield Fault("digest", "must be set (digest_of_tensors makes one)")
    if len(dataset.classes) < 2:
        yield Fault("classes", "must be two or more", list(dataset.classes))
    if not dataset.domains:
        yield Fault("domains", "must be at least one")
    if len(set(dataset.domain_names)) < len(dataset.domains):
        yield Fault("domains", "must have different names", list(dataset.domain_names))
    if len({domain.images.shape[1:] for domain in dataset.domains}) > 1:
        shapes = {domain.name: tuple(domain.images.shape) for domain in dataset.domains}
        yield Fault("domains", "must have images of one shape", shapes)
    for domain in dataset.domains:
        yield from _domain_misfits(domain, dataset)


def _domain_misfits(domain: Domain, dataset: Dataset) -> Iterator[Fault]:
    import torch

    field = f"domains[{domain.name}]"
    counts = (len(domain.images), len(domain.labels), len(domain.sample_ids))
    if len(set(counts)) > 1 or counts[0] == 0:
        yield Fault(field, "must hold as many images, labels and sample ids, and at least one", counts)
    if domain.images.dtype not in (torch.uint8, torch.float32):
        yield Fault(
            field, "must hold images of a known type", str(domain.images.dtype), ("torch.uint8", "torch.float32")
        )
    if domain.images.ndim != 4 or (dataset.normalise and domain.images.shape[1] != 3):
        rule = f"must hold images (n, {3 if dataset.normalise else 'channels'}, height, width)"
        yield Fault(field, rule, tuple(domain.images.shape))
    n_classes = len(dataset.classes)
    if domain.labels.dtype != torch.int64 or not ((domain.labels >= 0) & (domain.labels < n_classes)).all():
        unfit = sorted(set(domain.labels.tolist()))
        yield Fault(field, f"must have int64 labels in 0..{n_classes - 1}", f"{domain.labels.dtype} {unfit}")
