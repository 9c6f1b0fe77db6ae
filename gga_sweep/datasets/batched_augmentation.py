"""An approximation of DomainBed's training augmentation: a whole minibatch at once, in float32, on its device.

The random numbers mean the same as in `augmentation`, whose pixels are DomainBed's: image by image, rounded to bytes
after each operation. Here nothing is rounded, so pixels differ by a few levels of 256.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def augment_batch(images: Tensor, numbers: Sequence[AugmentationNumbers]) -> Tensor:
    """Augment each image by the numbers drawn for it.

    The result for an image does not depend on the others: on a CPU to the bit, on other devices up to 1e-5 (sums over
    several images may be computed in another order there).

    Args:
        images: (m, 3, height, width), uint8 in 0..255 or float32 in [0, 1].
        numbers: one for each image, drawn for images of this size.

    Returns:
        (m, 3, height, width) float32 in [0, 1], on the device of `images`.
    """
    import torch

    result = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    for rows in _alike(numbers, _TOGETHER_ON_CPU if images.device.type == "cpu" else _TOGETHER):
        chosen = _unit_floats(torch.stack([images[row] for row in rows]))
        augmented = _augment_alike(chosen, [numbers[row] for row in rows])
        for row, image in zip(rows, augmented, strict=True):  # on a CPU much faster than indexing by a list
            result[row] = image
    return result


def _alike(numbers: Sequence[AugmentationNumbers], most: int) -> Iterator[list[int]]:
    """Groups of at most `most` images whose hue is turned at the same position in their order of operations."""
    groups: dict[tuple[bool, ...], list[int]] = {}
    for place, drawn in enumerate(numbers):
        groups.setdefault(tuple(name == "hue" for name, _ in drawn.jitter), []).append(place)
    for places in groups.values():
        for start in range(0, len(places), most):
            yield places[start : start + most]


def _augment_alike(images: Tensor, numbers: Sequence[AugmentationNumbers]) -> Tensor:
    planes = _cropped(images, numbers).transpose(0, 1).contiguous()  # (3, m, height, width)
    for operations in zip(*(drawn.jitter for drawn in numbers), strict=True):
        if operations[0][0] == "hue":
            _turn_hue(planes, [factor for _, factor in operations])
        else:
            _blend(planes, operations)
    if grey := [row for row, drawn in enumerate(numbers) if drawn.grey]:
        planes[:, grey] = _grey(planes[:, grey])
    return planes.transpose(0, 1)


def _unit_floats(images: Tensor) -> Tensor:
    import torch

    return images.float().div_(255) if images.dtype == torch.uint8 else images


def _cropped(images: Tensor, numbers: Sequence[AugmentationNumbers]) -> Tensor:
    """Each crop, flipped or not, enlarged bilinearly to the image's size."""
    import torch
    from torch.nn.functional import grid_sample

    height, width = images.shape[2:]
    tops, lefts, heights, widths, flips = _columns(
        images, [(drawn.top, drawn.left, drawn.height, drawn.width, drawn.flip) for drawn in numbers]
    )
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flips > 0, width - 1 - columns, columns)
    x = _source(columns, lefts, widths, width)[:, None, :].expand(-1, height, -1)
    y = _source(torch.arange(height, device=images.device), tops, heights, height)[:, :, None].expand(-1, -1, width)
    grid = torch.stack([x, y], dim=3)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _source(targets: Tensor, first: Tensor, length: Tensor, full: int) -> Tensor:
    """The position in the image of each pixel of the enlarged crop, (m, full), from -1 (first centre) to 1 (last)."""
    inside = ((targets + 0.5) * (length / full) - 0.5).clamp_(min=0).minimum(length - 1)
    return (first + inside) * (2 / max(1, full - 1)) - 1


def _columns(like: Tensor, rows: Sequence[Sequence[float]]) -> Sequence[Tensor]:
    """The columns of a table with one row an image, each (m, 1), moved to the device together."""
    import torch

    return torch.tensor(rows, dtype=torch.float32).to(like.device).unsqueeze(2).unbind(1)


def _blend(planes: Tensor, operations: Sequence[tuple[str, float]]) -> None:
    """Brightness blends an image with black, contrast with the mean of its grey, saturation with its grey."""
    rows = [(factor, name == "contrast", name == "saturation") for name, factor in operations]
    factors, of_means, of_greys = (column[:, :, None] for column in _columns(planes, rows))
    grey = _grey(planes)
    other = grey.mean(dim=(1, 2), keepdim=True).mul_(of_means).add(grey.mul_(of_greys))
    planes.mul_(factors).add_(other.mul_(1 - factors)).clamp_(0, 1)


def _grey(planes: Tensor) -> Tensor:
    red, green, blue = planes.unbind()
    return red.mul(_GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


def _turn_hue(planes: Tensor, turns: Sequence[float]) -> None:
    """Add to the hue, in turns of the colour circle; the darkest and the lightest channel keep their values.

    Arithmetic replaces masks, which cost more on a CPU.
    """
    import torch

    (turn,) = _columns(planes, [(each,) for each in turns])
    red, green, blue = planes.unbind()
    darkest = torch.minimum(red, green).minimum(blue)
    lightest = torch.maximum(red, green).maximum(blue)
    spread = lightest - darkest
    not_red, not_green = (lightest - red).sign_(), lightest.sub_(green).sign_()  # 1 where another is the lightest
    hue = torch.lerp((blue - red).add_(spread, alpha=2), (red - green).add_(spread, alpha=4), not_green)
    hue = torch.lerp(green - blue, hue, not_red)  # in sixths of a turn, times the spread
    hue.div_(spread.clamp(min=_TINY).mul_(6)).add_(turn[:, :, None] + 1).frac_()
    torch.sub(hue, 1 / 2, out=red).abs_().mul_(6).sub_(1)
    torch.sub(hue, 1 / 3, out=green).abs_().mul_(-6).add_(2)
    torch.sub(hue, 2 / 3, out=blue).abs_().mul_(-6).add_(2)
    planes.clamp_(0, 1).mul_(spread).add_(darkest)
