"""DomainBed's training augmentation, in PIL's pixels, with random numbers for each image.

Source: facebookresearch/DomainBed, domainbed/datasets.py: random resized crop, flip, colour jitter, greyscale.
DomainBed crops from the photograph on disk; here the crop is taken from the image as stored. From the same image and
numbers the pixels are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageEnhance

from gga_sweep.datasets.hsv import hsv_to_rgb, rgb_to_hsv
from gga_sweep.errors import Fault, InputError

Augmentation = Literal["none", "domainbed", "domainbed-batched"]

CROP_AREA = (0.7, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
JITTER = 0.3  # brightness, contrast and saturation by 1 -+ JITTER; hue by -+ JITTER turns of the colour circle
FLIP_PROBABILITY = 0.5
GREY_PROBABILITY = 0.1

_CROP_TRIES = 10


@dataclass(frozen=True)
class AugmentationNumbers:
    """The augmentation of one image, in the order of its operations.

    Args:
        top, left, height, width: the crop in pixels, then enlarged to the image's size.
        flip: whether left and right are exchanged.
        jitter: the four colour operations by name with their factor, in the order they are applied.
        grey: whether the image becomes grey.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool
    jitter: tuple[tuple[str, float], ...]
    grey: bool


def check_augmentation(augmentation: Augmentation, channels: int) -> None:
    """Raise InputError unless the augmentation exists and fits images of that many channels."""
    if augmentation not in get_args(Augmentation):
        fault = Fault("training.augmentation", "must be known", augmentation, get_args(Augmentation))
        raise InputError([fault])
    if augmentation != "none" and channels != 3:
        fault = Fault("training.augmentation", f"{augmentation!r} needs images of 3 channels", channels)
        raise InputError([fault])


def draw_numbers(height: int, width: int, rng: np.random.Generator, crops: bool = True) -> AugmentationNumbers:
    """Draw the augmentation of an image of `height` x `width` pixels; without `crops` the crop is the whole image."""
    top, left, crop_height, crop_width = _draw_crop(height, width, rng) if crops else (0, 0, height, width)
    flip = bool(rng.random() < FLIP_PROBABILITY)
    jitter = [(name, float(rng.uniform(1 - JITTER, 1 + JITTER))) for name in ("brightness", "contrast", "saturation")]
    jitter.append(("hue", float(rng.uniform(-JITTER, JITTER))))
    order = rng.permutation(len(jitter))
    grey = bool(rng.random() < GREY_PROBABILITY)
    return AugmentationNumbers(
        top, left, crop_height, crop_width, flip, tuple(jitter[position] for position in order), grey
    )


def augment_array(image: np.ndarray, numbers: AugmentationNumbers) -> np.ndarray:
    """Augment an image (3, height, width) by the numbers drawn for it.

    Pixels are those of torchvision's transforms on a PIL image, as DomainBed has them. So floats are rounded to bytes.
    """
    are_bytes = image.dtype == np.uint8
    pixels = image if are_bytes else np.rint(image * np.float32(255)).astype(np.uint8)
    picture = Image.merge("RGB", [Image.fromarray(channel) for channel in pixels])
    picture = picture.crop((numbers.left, numbers.top, numbers.left + numbers.width, numbers.top + numbers.height))
    picture = picture.resize((image.shape[2], image.shape[1]), Image.Resampling.BILINEAR)
    if numbers.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for name, factor in numbers.jitter:
        picture = _ADJUST[name](picture, factor)
    if numbers.grey:
        picture = picture.convert("L").convert("RGB")
    result = np.stack([np.asarray(channel) for channel in picture.split()])
    return result if are_bytes else result / np.float32(255)


def _adjust_hue(picture: Image.Image, turn: float) -> Image.Image:
    """As torchvision's, by our own conversions: Pillow's take half of the time of all operations together."""
    hue, saturation, value = rgb_to_hsv(*(np.asarray(channel) for channel in picture.split()))
    turned = hue + np.int32(turn * 255).astype(np.uint8)  # modulo 256
    return Image.merge("RGB", [Image.fromarray(channel) for channel in hsv_to_rgb(turned, saturation, value)])


_ADJUST: Mapping[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": lambda picture, factor: ImageEnhance.Brightness(picture).enhance(factor),
    "contrast": lambda picture, factor: ImageEnhance.Contrast(picture).enhance(factor),
    "saturation": lambda picture, factor: ImageEnhance.Color(picture).enhance(factor),
    "hue": _adjust_hue,
}
"""torchvision's operations on PIL images, without torchvision: data workers load no torch."""


def _draw_crop(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a crop: uniform in area, log-uniform in aspect; the whole image if no try fits."""
    for _ in range(_CROP_TRIES):
        area = height * width * rng.uniform(*CROP_AREA)
        aspect = math.exp(rng.uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1])))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top, left = rng.integers(height - crop_height + 1), rng.integers(width - crop_width + 1)
            return int(top), int(left), crop_height, crop_width
    return 0, 0, height, width
