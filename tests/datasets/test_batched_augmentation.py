"""A minibatch that is augmented at once: as image by image, except that nothing is rounded to bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from augmented import apply_numbers
from float_augmentation import augmented_as_floats
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gga_sweep.datasets import batched_augmentation
from gga_sweep.datasets.augmentation import AugmentationNumbers, draw_numbers
from gga_sweep.datasets.batched_augmentation import augment_batch
from gga_sweep.seeding import stream

HEIGHT, WIDTH = 40, 48
STILL = AugmentationNumbers(0, 0, HEIGHT, WIDTH, flip=False, jitter=(), grey=False)
ROUNDING = 2e-5  # of floats in [0, 1]


def photographs(n: int) -> Tensor:
    """Smooth, coloured, all different, with a grey and a black image among them: (n, 3, 40, 48) uint8."""
    coarse = torch.rand(n, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    coarse[1 % n] = coarse[1 % n, :1]
    coarse[2 % n] = 0
    fine = torch.nn.functional.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bicubic")
    return fine.clamp(0, 1).mul(255).to(torch.uint8)


def drawn(n: int) -> list[AugmentationNumbers]:
    return [draw_numbers(HEIGHT, WIDTH, stream("mine", 0, "augment", index)) for index in range(n)]


def one_by_one(images: Tensor, numbers: list[AugmentationNumbers]) -> Tensor:
    """By torchvision's transforms of tensors, which round nothing in floats."""
    return torch.stack([augmented_as_floats(image, each) for image, each in zip(images, numbers, strict=True)])


def test_without_bytes_in_between_it_is_the_augmentation_of_each_image() -> None:
    images, numbers = photographs(96), drawn(96)
    assert len({tuple(name for name, _ in each.jitter) for each in numbers}) > 20  # nearly every order
    assert {each.flip for each in numbers} == {each.grey for each in numbers} == {False, True}

    augmented = augment_batch(images, numbers)

    assert augmented.dtype == torch.float32
    torch.testing.assert_close(augmented, one_by_one(images / 255, numbers), rtol=0, atol=ROUNDING)


def test_it_differs_from_the_augmentation_in_bytes_by_rounding_only() -> None:
    """A byte loses up to a level at each of the six operations, and contrast and hue spread what was lost."""
    images, numbers = photographs(96), drawn(96)
    in_bytes = torch.stack([apply_numbers(image, each) for image, each in zip(images, numbers, strict=True)])
    difference = augment_batch(images, numbers) * 255 - in_bytes
    assert 0 < difference.abs().mean() < 2
    assert difference.abs().max() < 20


@pytest.mark.parametrize(
    "change",
    [
        {"top": 4, "left": 9, "height": 30, "width": 36},
        {"flip": True},
        {"top": 4, "left": 9, "height": 30, "width": 36, "flip": True},
        {"jitter": (("brightness", 1.25),)},
        {"jitter": (("contrast", 0.75),)},
        {"jitter": (("saturation", 1.3),)},
        {"jitter": (("hue", 0.2),)},
        {"jitter": (("hue", -0.3),)},
        {"grey": True},
        {"jitter": (("contrast", 0.7), ("hue", 0.1), ("brightness", 1.3)), "grey": True},
        {"jitter": (("brightness", 1.3), ("hue", 0.1), ("contrast", 0.7)), "grey": True},
    ],
    ids=lambda change: "+".join(
        [name for name in change if name != "jitter"] + [n for n, _ in change.get("jitter", ())]
    ),
)
def test_each_operation_alone_is_that_of_the_single_image(change: dict[str, object]) -> None:
    images = photographs(5)
    numbers = [replace(STILL, **change)] * 5  # type: ignore[arg-type]
    augmented = augment_batch(images, numbers)
    torch.testing.assert_close(augmented, one_by_one(images / 255, numbers), rtol=0, atol=ROUNDING)
    assert (augmented[0] - images[0] / 255).abs().mean() > 0.02  # it does change the picture


def test_colours_are_clamped_after_each_operation() -> None:
    """Brightened beyond white and darkened again: what was cut off does not come back."""
    images = torch.full((1, 3, HEIGHT, WIDTH), 250, dtype=torch.uint8)
    numbers = [replace(STILL, jitter=(("brightness", 1.3), ("brightness", 0.7)))]
    torch.testing.assert_close(augment_batch(images, numbers), torch.full((1, 3, HEIGHT, WIDTH), 0.7))


def test_doing_nothing_gives_the_images_as_floats() -> None:
    images = photographs(3)
    torch.testing.assert_close(augment_batch(images, [STILL] * 3), images / 255, rtol=0, atol=ROUNDING)


def test_floats_are_augmented_as_their_bytes_and_not_overwritten() -> None:
    images, numbers = photographs(4), drawn(4)
    floats = images / 255
    before = floats.clone()
    torch.testing.assert_close(augment_batch(floats, numbers), augment_batch(images, numbers), rtol=0, atol=ROUNDING)
    assert torch.equal(floats, before)


def test_on_a_cpu_an_image_does_not_depend_on_those_beside_it() -> None:
    images, numbers = photographs(24), drawn(24)
    together = augment_batch(images, numbers)
    backwards = augment_batch(images.flip(0), numbers[::-1]).flip(0)
    alone = torch.cat([augment_batch(images[row : row + 1], numbers[row : row + 1]) for row in range(24)])
    assert torch.equal(backwards, together)
    assert torch.equal(alone, together)


def test_images_that_are_taken_together_are_those_taken_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on other devices than a CPU: in groups of unequal sizes, by the place of the hue in their order."""
    images, numbers = photographs(24), drawn(24)
    alone = augment_batch(images, numbers)
    monkeypatch.setattr(batched_augmentation, "_TOGETHER_ON_CPU", 5)
    torch.testing.assert_close(augment_batch(images, numbers), alone, rtol=0, atol=1e-5)


class Recorder(TorchDispatchMode):
    """Lists the operations that are run, and of copies whether the host waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []
        self.waiting_copies = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.operations.append(str(function))
        self.waiting_copies += "device" in kwargs and "_to_copy" in str(function) and not kwargs.get("non_blocking")
        return function(*args, **kwargs)


def recorded(n: int) -> Recorder:
    images, numbers = torch.empty(n, 3, HEIGHT, WIDTH, dtype=torch.uint8, device="meta"), drawn(64)[:n]
    with Recorder() as recorder:
        augment_batch(images, numbers)
    return recorder


def test_on_a_device_a_minibatch_takes_as_many_operations_whatever_its_size() -> None:
    assert recorded(64).operations == recorded(24).operations


def test_on_a_device_nothing_waits_for_a_result() -> None:
    """No value is read back, no place is computed from values, and no copy blocks."""
    recorder = recorded(64)
    assert recorder.waiting_copies == 0
    waiting = ("scalar_dense", "nonzero", "index.", "index_put")
    assert not [name for name in recorder.operations if any(word in name for word in waiting)]


@pytest.mark.gpu
def test_a_gpu_gives_the_pixels_of_the_cpu() -> None:
    images, numbers = photographs(96), drawn(96)
    on_gpu = augment_batch(images.cuda(), numbers)
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), augment_batch(images, numbers), rtol=0, atol=ROUNDING)
    assert torch.equal(on_gpu, augment_batch(images.cuda(), numbers))


@pytest.mark.gpu
def test_a_gpu_is_not_waited_for() -> None:
    images, numbers = photographs(96).cuda(), drawn(96)
    augment_batch(images, numbers)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment_batch(images, numbers)
    finally:
        torch.cuda.set_sync_debug_mode("default")
