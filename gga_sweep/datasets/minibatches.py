"""The minibatches of training and the batches of evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gga_sweep.datasets.augmentation import Augmentation, augment, check_augmentation, draw_numbers
from gga_sweep.datasets.batched_augmentation import augment_batch
from gga_sweep.datasets.dataset import Dataset, Domain
from gga_sweep.datasets.splits import Split
from gga_sweep.seeding import stream

if TYPE_CHECKING:  # a sweep is planned without loading torch
    from torch import Tensor
    from torch import device as Device


@dataclass(frozen=True, eq=False)
class Minibatch:
    """Images of one domain, as a network takes them.

    Args:
        images: (m, channels, size, size) float32.
        labels: (m,) int64.
    """

    images: Tensor
    labels: Tensor


def minibatch_indices(
    train: np.ndarray, batch_size: int, dataset: str, trial_seed: int, step: int, domain_name: str
) -> np.ndarray:
    """The images of one domain that one step trains on, drawn with replacement.

    A smaller batch is the start of a larger one, so that runs of different batch sizes stay paired.

    Args:
        train: (n,) int64, the training split.
        batch_size: images drawn from this domain.
        dataset: its name.
        trial_seed: non-negative.
        step: counted from 0.
        domain_name: the domain's.

    Returns:
        (batch_size,) int64, entries of `train`.
    """
    drawn: np.ndarray = train[
        stream(dataset, trial_seed, "minibatch", step, domain_name).integers(len(train), size=batch_size)
    ]
    return drawn


def draw_minibatch(
    dataset: Dataset,
    domain: Domain,
    split: Split,
    batch_size: int,
    trial_seed: int,
    step: int,
    augmentation: Augmentation,
    device: Device | None = None,
) -> Minibatch:
    """One domain's minibatch of one step. Each augmented image has its own stream of random numbers.

    It is on the CPU, or with `domainbed-batched` on `device`, where it is augmented.

    Raises:
        InputError: an augmentation that does not fit the images.
    """
    indices = minibatch_indices(split.train, batch_size, dataset.name, trial_seed, step, domain.name)
    streams = (
        stream(dataset.name, trial_seed, "augment", step, domain.name, position) for position in range(batch_size)
    )
    return _read(dataset, domain, indices, augmentation, streams, device)


def evaluation_batch(
    dataset: Dataset,
    domain: Domain,
    indices: np.ndarray,
    trial_seed: int,
    step: int,
    augmentation: Augmentation,
    device: Device | None = None,
) -> Minibatch:
    """The images of a domain at `indices` for an evaluation, on the device that `draw_minibatch` would use.

    With augmentation (DomainBed augments validation images too) an image's random numbers depend on its own index and
    the step, so it looks the same in every batch (within the precision that `augment_batch` names).

    Raises:
        InputError: an augmentation that does not fit the images.
    """
    streams = (
        stream(dataset.name, trial_seed, "augment-validation", step, domain.name, int(index)) for index in indices
    )
    return _read(dataset, domain, indices, augmentation, streams, device)


def _read(
    dataset: Dataset,
    domain: Domain,
    indices: np.ndarray,
    augmentation: Augmentation,
    streams: Iterable[np.random.Generator],
    device: Device | None,
) -> Minibatch:
    check_augmentation(augmentation, dataset.input_shape[0])
    images, labels = domain.take(indices)
    if augmentation == "domainbed":
        import torch

        images = torch.stack([augment(image, rng) for image, rng in zip(images, streams, strict=True)])
    elif augmentation == "domainbed-batched":
        _, height, width = dataset.input_shape
        images = augment_batch(images.to(device), [draw_numbers(height, width, rng) for rng in streams])
    return Minibatch(dataset.prepare(images), labels)
