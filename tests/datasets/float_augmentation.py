"""The augmentation of one image without rounding, which `domainbed-batched` is compared with."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from gga_sweep.datasets.augmentation import AugmentationNumbers

ADJUST = {
    "brightness": transforms.adjust_brightness,
    "contrast": transforms.adjust_contrast,
    "saturation": transforms.adjust_saturation,
    "hue": transforms.adjust_hue,
}


def augmented_as_floats(image: Tensor, numbers: AugmentationNumbers) -> Tensor:
    """An image (3, height, width) of floats in [0, 1], by torchvision's transforms of tensors."""
    crop = numbers.top, numbers.left, numbers.height, numbers.width
    result: Tensor = transforms.resized_crop(image, *crop, size=list(image.shape[1:]), antialias=True)
    if numbers.flip:
        result = transforms.horizontal_flip(result)
    for name, factor in numbers.jitter:
        result = ADJUST[name](result, factor)
    return transforms.rgb_to_grayscale(result, num_output_channels=3) if numbers.grey else result
