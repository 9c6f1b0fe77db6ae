"""DomainBed's augmentation: its numbers follow torchvision's rules, its pixels follow PIL's operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from augmented import apply_numbers, augment
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision import transforms

from gga_sweep.datasets.augmentation import AugmentationNumbers, check_augmentation, draw_numbers
from gga_sweep.errors import InputError
from gga_sweep.seeding import stream

SIDE = 48
JITTER_NAMES = ("brightness", "contrast", "saturation", "hue")  # by torchvision's numbers of them


def photograph() -> Tensor:
    """A smooth coloured picture without a symmetry, (3, 48, 48) uint8."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    channels = [rows, columns * rows, 0.3 + 0.5 * np.sin(5 * columns)]
    return torch.from_numpy((np.stack(channels).clip(0, 1) * 255).astype(np.uint8))


def numbers(index: int, side: int = 224) -> AugmentationNumbers:
    return draw_numbers(side, side, stream("mine", 0, "augment", index))


MANY = [numbers(index) for index in range(2000)]
STILL = AugmentationNumbers(0, 0, SIDE, SIDE, flip=False, jitter=(), grey=False)


def share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def test_the_same_stream_gives_the_same_image() -> None:
    one, other = (augment(photograph(), stream("mine", 0, "augment", 1)) for _ in range(2))
    assert torch.equal(one, other)


def test_streams_give_different_images_of_the_same_shape_and_type() -> None:
    images = [augment(photograph(), stream("mine", 0, "augment", index)) for index in range(20)]
    assert len({image.numpy().tobytes() for image in [photograph(), *images]}) == 21
    assert {(tuple(image.shape), image.dtype) for image in images} == {((3, SIDE, SIDE), torch.uint8)}


def test_floats_in_the_unit_interval_are_augmented_as_the_nearest_bytes() -> None:
    floats = augment((photograph() + 0.4) / 255, stream("mine", 0, "augment", 1))
    integers = augment(photograph(), stream("mine", 0, "augment", 1))
    assert torch.equal(floats, integers / 255)


def test_crops_lie_in_the_image_and_keep_area_and_aspect() -> None:
    for drawn in MANY:
        assert 0 <= drawn.top <= 224 - drawn.height
        assert 0 <= drawn.left <= 224 - drawn.width
        assert 0.69 < drawn.height * drawn.width / 224**2 <= 1
        assert 0.74 < drawn.width / drawn.height < 1.35
    assert min(drawn.height * drawn.width for drawn in MANY) < 0.72 * 224**2
    assert max(drawn.top for drawn in MANY) > 40


def test_half_of_the_images_are_flipped_and_a_tenth_turn_grey() -> None:
    assert share([drawn.flip for drawn in MANY]) == pytest.approx(0.5, abs=0.035)  # 3 standard errors
    assert share([drawn.grey for drawn in MANY]) == pytest.approx(0.1, abs=0.021)


def test_the_jitter_has_every_operation_once_with_its_range() -> None:
    factors = {name: [dict(drawn.jitter)[name] for drawn in MANY] for name in dict(MANY[0].jitter)}
    assert set(factors) == {"brightness", "contrast", "saturation", "hue"}
    for name, drawn in factors.items():
        middle = 0.0 if name == "hue" else 1.0
        assert middle - 0.3 <= min(drawn) < middle - 0.29
        assert middle + 0.29 < max(drawn) <= middle + 0.3


def test_each_operation_comes_first_as_often() -> None:
    for name in ("brightness", "contrast", "saturation", "hue"):
        assert share([drawn.jitter[0][0] == name for drawn in MANY]) == pytest.approx(0.25, abs=0.03)
    assert len({tuple(name for name, _ in drawn.jitter) for drawn in MANY}) == 24


def test_doing_nothing_changes_nothing() -> None:
    assert torch.equal(apply_numbers(photograph(), STILL), photograph())


def by_torchvision(image: Tensor, drawn: AugmentationNumbers) -> Tensor:
    """DomainBed's transforms (domainbed/datasets.py) by torchvision's own classes, with numbers that are given."""
    order = [JITTER_NAMES.index(name) for name, _ in drawn.jitter]
    factors = [dict(drawn.jitter)[name] for name in JITTER_NAMES]
    crop = drawn.top, drawn.left, drawn.height, drawn.width
    augmented = transforms.Compose(
        [
            transforms.RandomResizedCrop(tuple(image.shape[1:]), scale=(0.7, 1.0)),
            transforms.RandomHorizontalFlip(float(drawn.flip)),
            transforms.ColorJitter(0.3, 0.3, 0.3, 0.3),
            transforms.RandomGrayscale(float(drawn.grey)),
            transforms.PILToTensor(),
        ]
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(transforms.RandomResizedCrop, "get_params", lambda *_: crop)
        patched.setattr(transforms.ColorJitter, "get_params", lambda *_: (torch.tensor(order), *factors))
        result: Tensor = augmented(pil(image))
    return result


def pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def smooth(height: int, width: int, seed: int) -> Tensor:
    """Coloured, without a symmetry, (3, height, width) uint8."""
    return pil_resized(noise(4, 4, seed), height, width)


def pil_resized(image: Tensor, height: int, width: int) -> Tensor:
    resized = pil(image).resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def noise(height: int, width: int, seed: int) -> Tensor:
    """Every colour alike, (3, height, width) uint8."""
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", [smooth, noise])
@pytest.mark.parametrize(("height", "width"), [(48, 48), (31, 57), (64, 40), (224, 224), (1, 1)])
def test_pixels_are_those_of_torchvisions_transforms_on_a_pil_image(
    make: Callable[[int, int, int], Tensor], height: int, width: int
) -> None:
    changed = 0
    for index in range(100):
        image = make(height, width, index)
        drawn = draw_numbers(height, width, stream("mine", 0, "augment", index))
        ours = apply_numbers(image, drawn)
        np.testing.assert_array_equal(ours.numpy(), by_torchvision(image, drawn).numpy())
        changed += not torch.equal(ours, image)
    assert changed > 90  # a single pixel may stay


@st.composite
def images_with_numbers(draw: st.DrawFn) -> tuple[Tensor, AugmentationNumbers]:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    crop_height, crop_width = draw(st.integers(1, height)), draw(st.integers(1, width))
    top, left = draw(st.integers(0, height - crop_height)), draw(st.integers(0, width - crop_width))
    factors = {name: draw(st.floats(-0.3, 0.3) if name == "hue" else st.floats(0.7, 1.3)) for name in JITTER_NAMES}
    jitter = tuple((name, factors[name]) for name in draw(st.permutations(JITTER_NAMES)))
    numbers = AugmentationNumbers(top, left, crop_height, crop_width, draw(st.booleans()), jitter, draw(st.booleans()))
    make = draw(st.sampled_from([smooth, noise]))
    return make(height, width, draw(st.integers(0, 2**31))), numbers


@settings(max_examples=200, deadline=None)
@given(images_with_numbers())
def test_pixels_of_any_crop_and_jitter_are_those_of_torchvision(case: tuple[Tensor, AugmentationNumbers]) -> None:
    image, drawn = case
    np.testing.assert_array_equal(apply_numbers(image, drawn).numpy(), by_torchvision(image, drawn).numpy())


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        (
            {"top": 4, "left": 9, "height": 40, "width": 36},
            lambda image: image.crop((9, 4, 45, 44)).resize((SIDE, SIDE), Image.Resampling.BILINEAR),
        ),
        ({"flip": True}, ImageOps.mirror),
        ({"jitter": (("brightness", 1.25),)}, lambda image: ImageEnhance.Brightness(image).enhance(1.25)),
        ({"jitter": (("contrast", 0.75),)}, lambda image: ImageEnhance.Contrast(image).enhance(0.75)),
        ({"jitter": (("saturation", 1.3),)}, lambda image: ImageEnhance.Color(image).enhance(1.3)),
        ({"grey": True}, lambda image: image.convert("L").convert("RGB")),
        (
            {"jitter": (("contrast", 0.7), ("brightness", 1.3))},
            lambda image: ImageEnhance.Brightness(ImageEnhance.Contrast(image).enhance(0.7)).enhance(1.3),
        ),
    ],
    ids=["crop", "flip", "brightness", "contrast", "saturation", "grey", "order"],
)
def test_each_operation_is_that_of_pil(
    change: dict[str, object], reference: Callable[[Image.Image], Image.Image]
) -> None:
    changed = apply_numbers(photograph(), replace(STILL, **change))  # type: ignore[arg-type]
    expected = np.asarray(reference(pil(photograph())))
    np.testing.assert_array_equal(changed.permute(1, 2, 0).numpy(), expected)
    assert not torch.equal(changed, photograph())


def test_an_image_of_one_channel_is_refused() -> None:
    with pytest.raises(InputError, match="3 channels, got 1"):
        check_augmentation("domainbed", 1)
