"""The minibatches of training and the batches of evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gga_sweep.datasets.augmentation import (
    Augmentation,
    AugmentationNumbers,
    augment_array,
    check_augmentation,
    draw_numbers,
)
from gga_sweep.datasets.batched_augmentation import augment_batch
from gga_sweep.datasets.catalogue import traits_of
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


@dataclass(frozen=True, eq=False)
class Reading:
    """Images of one domain to be read and augmented. A data worker may do it: the result depends on nothing else.

    Args:
        dataset, trial_seed, purpose, step, domain: name the streams of random numbers, one for each image.
        indices: (m,) int64, of the images in the domain.
        places: (m,) int64, which stream of these is each image's.
        augmentation: of the images.
    """

    dataset: str
    trial_seed: int
    purpose: str
    step: int
    domain: str
    indices: np.ndarray
    places: np.ndarray
    augmentation: Augmentation

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, part: slice) -> Reading:
        return replace(self, indices=self.indices[part], places=self.places[part])

    def augment(self, images: np.ndarray) -> Sequence[AugmentationNumbers]:
        """Augment the images, copies of those at `indices`, in place.

        Returns:
            With `domainbed-batched`, which leaves them as they are: the numbers drawn for each. Otherwise nothing.
        """
        if self.augmentation == "none":
            return ()
        height, width = images.shape[2:]
        streams = (
            stream(self.dataset, self.trial_seed, self.purpose, self.step, self.domain, place)
            for place in self.places.tolist()
        )
        crops = traits_of(self.dataset).crops
        numbers = [draw_numbers(height, width, rng, crops) for rng in streams]
        if self.augmentation == "domainbed-batched":
            return numbers
        for image, drawn in zip(images, numbers, strict=True):
            image[...] = augment_array(image, drawn)
        return ()


def training_reading(
    dataset: Dataset,
    domain: Domain,
    split: Split,
    batch_size: int,
    trial_seed: int,
    step: int,
    augmentation: Augmentation,
) -> Reading:
    """One domain's minibatch of one step. Each augmented image has its own stream of random numbers.

    Raises:
        InputError: an augmentation that does not fit the images.
    """
    check_augmentation(augmentation, dataset.input_shape[0])
    indices = minibatch_indices(split.train, batch_size, dataset.name, trial_seed, step, domain.name)
    places = np.arange(batch_size)
    return Reading(dataset.name, trial_seed, "augment", step, domain.name, indices, places, augmentation)


def evaluation_reading(
    dataset: Dataset, domain: Domain, indices: np.ndarray, trial_seed: int, step: int, augmentation: Augmentation
) -> Reading:
    """The images of a domain at `indices` for an evaluation.

    With augmentation (DomainBed augments validation images too) an image's random numbers depend on its own index and
    the step, so it looks the same in every batch (within the precision that `augment_batch` names).

    Raises:
        InputError: an augmentation that does not fit the images.
    """
    check_augmentation(augmentation, dataset.input_shape[0])
    return Reading(dataset.name, trial_seed, "augment-validation", step, domain.name, indices, indices, augmentation)


def read(dataset: Dataset, reading: Reading, device: Device | None = None) -> Minibatch:
    """Read and augment images in this process, without workers."""
    images, labels = dataset.domain(reading.domain).take(reading.indices)
    return finish(dataset, images, labels, reading.augment(images.numpy()), device)


def finish(
    dataset: Dataset,
    images: Tensor,
    labels: Tensor,
    numbers: Sequence[AugmentationNumbers],
    device: Device | None,
) -> Minibatch:
    """Move images as stored to the device, a quarter of their bytes as floats, and prepare them there.

    Args:
        images, labels: copied without blocking where they are in pinned memory.
        numbers: those by which they are still to be augmented, if any.
        device: None leaves them where they are.
    """
    images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
    if numbers:
        images = augment_batch(images, numbers)
    return Minibatch(dataset.prepare(images), labels)


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
    """The minibatch of `training_reading` on a device, read in this process."""
    reading = training_reading(dataset, domain, split, batch_size, trial_seed, step, augmentation)
    return read(dataset, reading, device)


def evaluation_batch(
    dataset: Dataset,
    domain: Domain,
    indices: np.ndarray,
    trial_seed: int,
    step: int,
    augmentation: Augmentation,
    device: Device | None = None,
) -> Minibatch:
    """The images of `evaluation_reading` on a device, read in this process."""
    return read(dataset, evaluation_reading(dataset, domain, indices, trial_seed, step, augmentation), device)
