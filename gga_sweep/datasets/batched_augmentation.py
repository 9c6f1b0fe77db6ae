"""An approximation of DomainBed's training augmentation: a whole minibatch at once, in float32, on its device.

The random numbers mean the same as in `augmentation`, whose pixels are DomainBed's: image by image, rounded to bytes
after each operation. Here nothing is rounded, so pixels differ by a few levels of 256.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING

from gga_sweep.datasets.augmentation import AugmentationNumbers

if TYPE_CHECKING:  # a sweep is planned without loading torch
    from torch import Tensor

_TOGETHER_ON_CPU = 1
"""Images at a time: intermediate results then stay in the processor's cache, which is measurably faster."""

_TOGETHER = 64
"""Images at a time on other devices; it bounds the memory: 150 MB at 224 x 224."""

_GREY = (0.2989, 0.587, 0.114)  # torchvision's, which sum to 0.9999
_TINY = 1e-20  # avoids division by zero for a grey pixel, whose hue does not matter
_UNCHANGED = ("brightness", 1.0)


def augment_batch(images: Tensor, numbers: Sequence[AugmentationNumbers]) -> Tensor:
    """Augment each image by the numbers drawn for it.

    The result for an image does not depend on the others: on a CPU to the bit, on other devices up to 1e-5 (sums over
    several images may be computed in another order there). On a GPU nothing waits for a result, and 64 images take as
    many operations as one.

    Args:
        images: (m, 3, height, width), uint8 in 0..255 or float32 in [0, 1].
        numbers: one for each image, drawn for images of this size.

    Returns:
        (m, 3, height, width) float32 in [0, 1], on the device of `images`.
    """
    import torch

    together = _TOGETHER_ON_CPU if images.device.type == "cpu" else _TOGETHER
    order = sorted(range(len(numbers)), key=lambda row: _hue_position(numbers[row]))
    result = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    for start in range(0, len(order), together):
        rows = order[start : start + together]
        where = torch.tensor(rows).to(images.device, non_blocking=True)
        chosen = _unit_floats(images.index_select(0, where))
        result.index_copy_(0, where, _augment_together(chosen, [numbers[row] for row in rows]))
    return result


def _hue_position(drawn: AugmentationNumbers) -> int:
    """The position of the hue in the order of operations."""
    names = [name for name, _ in drawn.jitter]
    return names.index("hue") if "hue" in names else len(names)


def _augment_together(images: Tensor, numbers: Sequence[AugmentationNumbers]) -> Tensor:
    """Augment images in ascending order of `_hue_position`: those whose hue is turned next are then a slice."""
    jitter = list(zip_longest(*(drawn.jitter for drawn in numbers), fillvalue=_UNCHANGED))
    crop = [(drawn.top, drawn.left, drawn.height, drawn.width, drawn.flip, drawn.grey) for drawn in numbers]
    columns = iter(_columns(images, [*zip(*crop, strict=True), *chain.from_iterable(map(_coefficients, jitter))]))
    top, left, height, width, flip, grey = islice(columns, 6)
    planes = _cropped(images, top, left, height, width, flip).transpose(0, 1).contiguous()  # (3, m, height, width)
    for operations in jitter:
        factor, of_mean, of_grey, turn = (column[:, :, None] for column in islice(columns, 4))
        turned = [row for row, (name, _) in enumerate(operations) if name == "hue"]
        if len(turned) < len(operations):
            _blend(planes, factor, of_mean, of_grey)
        if turned:
            rows = slice(turned[0], turned[-1] + 1)
            _turn_hue(planes[:, rows], turn[rows])
    if any(drawn.grey for drawn in numbers):
        planes = planes.where(grey[:, :, None] == 0, _grey(planes))
    return planes.transpose(0, 1)


def _unit_floats(images: Tensor) -> Tensor:
    import torch

    return images.float().div_(255) if images.dtype == torch.uint8 else images


def _columns(like: Tensor, columns: Sequence[Sequence[float]]) -> Sequence[Tensor]:
    """Columns of numbers, one an image, each as (m, 1), moved to the device together and without waiting for it."""
    import torch

    return torch.tensor(columns, dtype=torch.float32).to(like.device, non_blocking=True).unsqueeze(2).unbind()


def _coefficients(operations: Sequence[tuple[str, float]]) -> Iterator[list[float]]:
    """Columns for one operation of each image: three for `_blend`, which skips hues, and one for `_turn_hue`."""
    yield [1 if name == "hue" else factor for name, factor in operations]
    yield [name == "contrast" for name, _ in operations]
    yield [name == "saturation" for name, _ in operations]
    yield [factor for _, factor in operations]


def _cropped(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, flip: Tensor) -> Tensor:
    """Each crop, flipped or not, enlarged bilinearly to the image's size."""
    import torch
    from torch.nn.functional import grid_sample

    full_height, full_width = images.shape[2:]
    columns = torch.arange(full_width, device=images.device)
    columns = torch.where(flip > 0, full_width - 1 - columns, columns)
    x = _source(columns, left, width, full_width)[:, None, :].expand(-1, full_height, -1)
    rows = torch.arange(full_height, device=images.device)
    y = _source(rows, top, height, full_height)[:, :, None].expand(-1, -1, full_width)
    grid = torch.stack([x, y], dim=3)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _source(targets: Tensor, first: Tensor, length: Tensor, full: int) -> Tensor:
    """The position in the image of each pixel of the enlarged crop, (m, full), from -1 (first centre) to 1 (last)."""
    inside = ((targets + 0.5) * (length / full) - 0.5).clamp_(min=0).minimum(length - 1)
    return (first + inside) * (2 / max(1, full - 1)) - 1


def _blend(planes: Tensor, factor: Tensor, of_mean: Tensor, of_grey: Tensor) -> None:
    """Brightness blends an image with black, contrast with the mean of its grey, saturation with its grey."""
    grey = _grey(planes)
    other = grey.mean(dim=(1, 2), keepdim=True).mul_(of_mean).add(grey.mul_(of_grey))
    planes.mul_(factor).add_(other.mul_(1 - factor)).clamp_(0, 1)


def _grey(planes: Tensor) -> Tensor:
    red, green, blue = planes.unbind()
    return red.mul(_GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


def _turn_hue(planes: Tensor, turn: Tensor) -> None:
    """Add to the hue, in turns of the colour circle; the darkest and the lightest channel keep their values.

    Arithmetic replaces masks, which cost more on a CPU.
    """
    import torch

    red, green, blue = planes.unbind()
    darkest = torch.minimum(red, green).minimum(blue)
    lightest = torch.maximum(red, green).maximum(blue)
    spread = lightest - darkest
    not_red, not_green = (lightest - red).sign_(), lightest.sub_(green).sign_()  # 1 where another is the lightest
    hue = torch.lerp((blue - red).add_(spread, alpha=2), (red - green).add_(spread, alpha=4), not_green)
    hue = torch.lerp(green - blue, hue, not_red)  # in sixths of a turn, times the spread
    hue.div_(spread.clamp(min=_TINY).mul_(6)).add_(turn + 1).frac_()
    torch.sub(hue, 1 / 2, out=red).abs_().mul_(6).sub_(1)
    torch.sub(hue, 1 / 3, out=green).abs_().mul_(-6).add_(2)
    torch.sub(hue, 2 / 3, out=blue).abs_().mul_(-6).add_(2)
    planes.clamp_(0, 1).mul_(spread).add_(darkest)
