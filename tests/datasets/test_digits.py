"""RotatedDigits and ColoredDigits against their definition, worked out anew with plain numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from gga_sweep.datasets import Dataset, Domain, colored_digits_ceilings, digest_of_tensors, digits
from gga_sweep.datasets.digits import colored_digits, rotated_digits

FLIPPED_SHARE = Fraction(1, 4)
AGREEMENT = {"90": Fraction(9, 10), "80": Fraction(8, 10), "10": Fraction(1, 10)}


def indices(domain: Domain) -> np.ndarray:
    """Where a domain's images stand in scikit-learn's array."""
    return np.array([int(sample.removeprefix("digit-")) for sample in domain.sample_ids])


def reference_enlarged(image: np.ndarray) -> np.ndarray:
    """8 x 8 in 0..16 -> 28 x 28 in [0, 1]: bilinear between pixel centres, edges repeated, two empty pixels around."""
    position = (np.arange(24) + 0.5) / 3 - 0.5
    weights = np.maximum(0, 1 - np.abs(np.clip(position, 0, 7)[:, None] - np.arange(8)))
    return np.pad(weights @ (image / 16) @ weights.T, 2)


def reference_turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turned counter-clockwise about the middle; bilinear, zero outside."""
    angle, middle = np.deg2rad(degrees), (len(image) - 1) / 2
    y, x = np.mgrid[: len(image), : len(image)] - middle
    from_x = np.cos(angle) * x - np.sin(angle) * y + middle
    from_y = np.sin(angle) * x + np.cos(angle) * y + middle
    pixel = np.arange(len(image))
    weight_x = np.maximum(0, 1 - np.abs(from_x[..., None] - pixel))
    weight_y = np.maximum(0, 1 - np.abs(from_y[..., None] - pixel))
    turned: np.ndarray = np.einsum("abi,ij,abj->ab", weight_y, image, weight_x)
    return turned


@pytest.mark.parametrize(("make", "n_domains"), [(rotated_digits, 6), (colored_digits, 3)])
def test_each_digit_stands_in_exactly_one_domain(make: Callable[[], Dataset], n_domains: int) -> None:
    dataset = make()
    assert len(dataset.domains) == n_domains
    samples = [sample for domain in dataset.domains for sample in domain.sample_ids]
    assert sorted(samples) == sorted(f"digit-{index}" for index in range(1797))


def test_rotated_domains_hold_299_or_300_digits() -> None:
    assert rotated_digits().domain_names == ("0", "15", "30", "45", "60", "75")
    assert [len(domain) for domain in rotated_digits().domains] == [300, 300, 300, 299, 299, 299]
    assert rotated_digits().input_shape == (1, 28, 28)


@pytest.mark.parametrize(("make", "n_domains"), [(rotated_digits, 6), (colored_digits, 3)])
def test_every_class_is_dealt_evenly(make: Callable[[], Dataset], n_domains: int) -> None:
    target = load_digits().target
    for domain in make().domains:
        counts = Counter(target[indices(domain)].tolist())
        for digit in range(10):
            assert abs(counts[digit] - np.sum(target == digit) / n_domains) < 1


def test_near_duplicates_are_spread_over_the_domains() -> None:
    # neighbours in scikit-learn's array are near-duplicates: dealt at random, one in six keeps its neighbour
    for domain in rotated_digits().domains:
        neighbours = np.mean(np.isin(indices(domain) + 1, indices(domain)))
        assert 0.05 < neighbours < 0.3


@pytest.mark.parametrize("name", ["0", "15", "30", "45", "60", "75"])
def test_rotated_pixels_follow_from_the_definition(name: str) -> None:
    data, domain = load_digits(), rotated_digits().domain(name)
    assert domain.labels.tolist() == data.target[indices(domain)].tolist()
    for image, index in list(zip(domain.images, indices(domain), strict=True))[::30]:
        reference = reference_turned(reference_enlarged(data.images[index]), float(name))
        np.testing.assert_allclose(image[0].numpy(), reference, atol=1e-4)


@pytest.mark.parametrize("make", [rotated_digits, colored_digits])
def test_pixels_lie_between_0_and_1(make: Callable[[], Dataset]) -> None:
    for domain in make().domains:
        assert domain.images.dtype == torch.float32
        assert 0 == domain.images.min() < domain.images.max() <= 1


def test_colored_domains_hold_599_digits_in_two_colours() -> None:
    assert colored_digits().domain_names == ("90", "80", "10")
    for domain in colored_digits().domains:
        assert tuple(domain.images.shape) == (599, 3, 28, 28)
        painted = domain.images.flatten(2).amax(2) > 0
        assert painted[:, :2].sum(1).eq(1).all()
        assert not painted[:, 2].any()


def test_colored_pixels_are_the_enlarged_digit() -> None:
    images = load_digits().images
    for domain in colored_digits().domains:
        for image, index in list(zip(domain.images, indices(domain), strict=True))[::60]:
            np.testing.assert_allclose(image.sum(0).numpy(), reference_enlarged(images[index]), atol=1e-6)


@pytest.mark.parametrize("name", AGREEMENT)
def test_flips_and_colours_have_the_exact_counts(name: str) -> None:
    domain = colored_digits().domain(name)
    shape = (load_digits().target[indices(domain)] < 5).astype(int)
    label = domain.labels.numpy()
    colour = domain.images.flatten(2).amax(2)[:, :2].argmax(1).numpy()
    flipped = shape != label
    for value in (0, 1):
        members = shape == value
        assert flipped[members].sum() == round(FLIPPED_SHARE * int(members.sum()))
        for flip in (False, True):
            stratum = (label == value) & (flipped == flip)
            assert (colour == label)[stratum].sum() == round(AGREEMENT[name] * int(stratum.sum()))


def test_the_ceilings_are_those_of_the_images() -> None:
    for name, ceilings in colored_digits_ceilings().items():
        domain = colored_digits().domain(name)
        shape = load_digits().target[indices(domain)] < 5
        colour = domain.images.flatten(2).amax(2)[:, :2].argmax(1)
        assert ceilings.shape == pytest.approx(np.mean(shape == domain.labels.numpy()))
        assert ceilings.colour == pytest.approx((colour == domain.labels).double().mean().item())
        assert ceilings.shape == pytest.approx(0.75, abs=0.005)
        assert ceilings.colour == pytest.approx(float(AGREEMENT[name]), abs=0.005)


def test_which_digits_are_flipped_does_not_depend_on_their_place() -> None:
    # drawn at random: the flipped ones are not the first of their stratum
    for colouring in digits.colourings().values():
        flipped = np.flatnonzero(colouring.shapes != colouring.labels)
        assert flipped.max() > 0.9 * len(colouring.labels)
        assert flipped.min() < 0.1 * len(colouring.labels)


def test_the_data_are_the_same_when_made_again_and_with_more_threads() -> None:
    before = [digest_of_tensors(make().domains) for make in (rotated_digits, colored_digits)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        again = [digest_of_tensors(make.__wrapped__().domains) for make in (rotated_digits, colored_digits)]
    finally:
        torch.set_num_threads(threads)
    assert again == before


def test_the_digest_follows_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digits.rotated_digits_digest(), digits.colored_digits_digest()
    assert len(set(before)) == 2
    assert before == (rotated_digits().digest, colored_digits().digest)
    monkeypatch.setattr(digits, "_DATA_SEED", 1)
    digits.colourings.cache_clear()
    try:
        assert digits.rotated_digits_digest() != before[0]
        assert digits.colored_digits_digest() != before[1]
    finally:
        monkeypatch.undo()
        digits.colourings.cache_clear()
