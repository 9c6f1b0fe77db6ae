"""Minibatches: paired between runs, drawn with replacement from the training split, each image with its own numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from augmented import augment
from float_augmentation import augmented_as_floats
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.datasets import (
    Augmentation,
    Dataset,
    Domain,
    Minibatch,
    draw_minibatch,
    evaluation_batch,
    minibatch_indices,
    split_domain,
)
from gga_sweep.datasets.augmentation import draw_numbers
from gga_sweep.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD
from gga_sweep.errors import InputError
from gga_sweep.seeding import stream

TRAIN = np.arange(100, 180)


def photographs(name: str, channels: int = 3) -> Domain:
    images = torch.randint(
        0, 256, (40, channels, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )
    return Domain(name, images, torch.arange(40) % 4, tuple(f"{name}-{index}" for index in range(40)))


NEAR = photographs("near")
DATASET = Dataset("mine", tuple("abcd"), (NEAR, photographs("far")), "digest", normalise=True)
SPLIT = split_domain(40, "mine", 0, "near", 0, "stream")


def indices(
    batch_size: int = 32, dataset: str = "mine", trial_seed: int = 0, step: int = 5, name: str = "near"
) -> list[int]:
    drawn: list[int] = minibatch_indices(TRAIN, batch_size, dataset, trial_seed, step, name).tolist()
    return drawn


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 10**6),
    sizes=st.tuples(st.integers(1, 64), st.integers(1, 64)).map(sorted),
    trial_seed=st.integers(0, 1000),
    step=st.integers(0, 20000),
)
def test_a_smaller_batch_is_the_start_of_a_larger_one(n: int, sizes: list[int], trial_seed: int, step: int) -> None:
    small, large = (minibatch_indices(np.arange(n), size, "mine", trial_seed, step, "near") for size in sizes)
    assert large[: sizes[0]].tolist() == small.tolist()


def test_a_minibatch_depends_on_dataset_trial_seed_step_and_domain() -> None:
    assert indices() == indices()
    others = [indices(dataset="other"), indices(trial_seed=1), indices(step=6), indices(name="far")]
    assert all(other != indices() for other in others)


def test_images_are_drawn_evenly_and_with_replacement_from_the_training_split() -> None:
    drawn = np.concatenate([indices(64, step=step) for step in range(500)])
    assert set(drawn) == set(TRAIN)
    counts = np.bincount(drawn)[100:]
    expected = len(drawn) / len(TRAIN)
    assert np.sum((counts - expected) ** 2 / expected) < 124.8  # chi-square, 79 degrees of freedom, p = 0.001
    assert any(len(set(indices(64, step=step))) < 64 for step in range(3))


def test_a_plain_minibatch_is_the_prepared_images_of_its_indices() -> None:
    batch = draw_minibatch(DATASET, NEAR, SPLIT, 8, trial_seed=2, step=9, augmentation="none")

    chosen = minibatch_indices(SPLIT.train, 8, "mine", 2, 9, "near")
    assert set(chosen) <= set(SPLIT.train)
    assert torch.equal(batch.images, DATASET.prepare(NEAR.images[torch.from_numpy(chosen)]))
    assert torch.equal(batch.labels, NEAR.labels[torch.from_numpy(chosen)])


def test_each_place_of_an_augmented_minibatch_has_its_own_stream() -> None:
    batch = draw_minibatch(DATASET, NEAR, SPLIT, 8, trial_seed=2, step=9, augmentation="domainbed")

    chosen = minibatch_indices(SPLIT.train, 8, "mine", 2, 9, "near")
    for position, index in enumerate(chosen):
        image = augment(NEAR.images[index], stream("mine", 2, "augment", 9, "near", position))
        assert torch.equal(batch.images[position], DATASET.prepare(image))
    plain = draw_minibatch(DATASET, NEAR, SPLIT, 8, trial_seed=2, step=9, augmentation="none")
    assert not torch.equal(batch.images, plain.images)


def unprepared(batch: Minibatch) -> torch.Tensor:
    """The images of a minibatch before they were normalised, in [0, 1]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return batch.images * std + mean


def as_floats(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return augmented_as_floats(image / 255, draw_numbers(*image.shape[1:], rng))


def test_a_minibatch_that_is_augmented_at_once_takes_the_same_numbers() -> None:
    at_once = draw_minibatch(DATASET, NEAR, SPLIT, 8, trial_seed=2, step=9, augmentation="domainbed-batched")
    one_by_one = draw_minibatch(DATASET, NEAR, SPLIT, 8, trial_seed=2, step=9, augmentation="domainbed")
    assert torch.equal(at_once.labels, one_by_one.labels)

    chosen = minibatch_indices(SPLIT.train, 8, "mine", 2, 9, "near")
    expected = [
        as_floats(NEAR.images[index], stream("mine", 2, "augment", 9, "near", position))
        for position, index in enumerate(chosen)
    ]
    torch.testing.assert_close(unprepared(at_once), torch.stack(expected), rtol=0, atol=2e-5)
    assert not torch.equal(at_once.images, one_by_one.images)


def test_an_evaluation_that_is_augmented_at_once_takes_the_same_numbers() -> None:
    together = evaluation_batch(DATASET, NEAR, np.array([3, 7, 11]), 0, 300, "domainbed-batched")
    image = as_floats(NEAR.images[7], stream("mine", 0, "augment-validation", 300, "near", 7))
    torch.testing.assert_close(unprepared(together)[1], image, rtol=0, atol=2e-5)


@pytest.mark.parametrize("augmentation", ["none", "domainbed", "domainbed-batched"])
def test_images_are_prepared_on_the_device(augmentation: Augmentation) -> None:
    device = torch.device("meta")  # holds shapes alone
    for batch in (
        draw_minibatch(DATASET, NEAR, SPLIT, 8, 0, 0, augmentation, device),
        evaluation_batch(DATASET, NEAR, SPLIT.validation, 0, 0, augmentation, device),
    ):
        assert batch.images.device == batch.labels.device == device
        assert batch.images.shape[1:] == DATASET.input_shape


def test_an_evaluation_reads_the_images_asked_for() -> None:
    batch = evaluation_batch(DATASET, NEAR, SPLIT.validation, trial_seed=0, step=0, augmentation="none")
    assert torch.equal(batch.images, DATASET.prepare(NEAR.images[torch.from_numpy(SPLIT.validation)]))
    assert torch.equal(batch.labels, NEAR.labels[torch.from_numpy(SPLIT.validation)])


def test_an_augmented_image_of_an_evaluation_does_not_depend_on_its_batch() -> None:
    def evaluate(chosen: list[int], trial_seed: int = 0, step: int = 0) -> Minibatch:
        return evaluation_batch(DATASET, NEAR, np.array(chosen), trial_seed, step, "domainbed")

    together = evaluate([3, 7, 11])
    assert torch.equal(evaluate([11, 3]).images, together.images[[2, 0]])
    image = augment(NEAR.images[7], stream("mine", 0, "augment-validation", 0, "near", 7))
    assert torch.equal(together.images[1], DATASET.prepare(image))
    assert not torch.equal(evaluate([3, 7, 11], step=300).images, together.images)
    assert not torch.equal(evaluate([3, 7, 11], trial_seed=1).images, together.images)


def draw_augmented(dataset: Dataset, augmentation: str) -> Minibatch:
    return draw_minibatch(dataset, dataset.domains[0], SPLIT, 4, 0, 0, augmentation)  # type: ignore[arg-type]


def evaluate_augmented(dataset: Dataset, augmentation: str) -> Minibatch:
    return evaluation_batch(dataset, dataset.domains[0], SPLIT.validation, 0, 0, augmentation)  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [draw_augmented, evaluate_augmented])
def test_augmentation_that_does_not_fit_is_refused(read: Callable[[Dataset, str], Minibatch]) -> None:
    grey = Dataset("grey", tuple("abcd"), (photographs("a", 1), photographs("b", 1)), "digest", normalise=False)
    for augmentation in ("domainbed", "domainbed-batched"):
        with pytest.raises(InputError, match=f"'{augmentation}' needs images of 3 channels, got 1"):
            read(grey, augmentation)
    with pytest.raises(InputError, match=r"got 'wild' \(allowed: none, domainbed, domainbed-batched\)"):
        read(DATASET, "wild")
