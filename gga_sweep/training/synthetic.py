"""Images of a dataset's shape that nobody has to read: a few random ones in each domain."""

from __future__ import annotations

import torch

from gga_sweep.datasets import Dataset, DatasetDescription, Domain


def synthetic_dataset(description: DatasetDescription, n_images: int, *, photographs: bool, side: int = 0) -> Dataset:
    """A dataset to measure with, the same at each call.

    Args:
        n_images: in each domain.
        photographs: whether its images are bytes that are normalised, rather than numbers in [0, 1].
        side: of its images, in pixels; 0 takes the dataset's own.
    """
    channels, *sides = description.image_shape
    shape = (n_images, channels, *([side] * 2 if side else sides))
    generator = torch.Generator().manual_seed(0)
    domains = []
    for name in description.domain_sizes:
        images = (
            torch.randint(256, shape, generator=generator, dtype=torch.uint8)
            if photographs
            else torch.rand(shape, generator=generator)
        )
        labels = torch.arange(n_images) % description.n_classes
        domains.append(Domain(name, images, labels, tuple(map(str, range(n_images)))))
    classes = tuple(map(str, range(description.n_classes)))
    return Dataset(description.name, classes, tuple(domains), "synthetic", normalise=photographs)
