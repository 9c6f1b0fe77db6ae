"""Single augmented images as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gga_sweep.datasets.augmentation import AugmentationNumbers, augment_array, draw_numbers


def augment(image: Tensor, rng: np.random.Generator) -> Tensor:
    """An image (3, height, width) by numbers drawn for it."""
    return apply_numbers(image, draw_numbers(image.shape[1], image.shape[2], rng))


def apply_numbers(image: Tensor, numbers: AugmentationNumbers) -> Tensor:
    """`augment_array` of a tensor."""
    return torch.from_numpy(augment_array(image.numpy(), numbers))
