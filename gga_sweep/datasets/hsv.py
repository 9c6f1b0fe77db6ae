"""Pillow's conversions between RGB and HSV, on arrays: the same bytes for every colour, in a third of the time."""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np
from PIL import Image

Plane = np.ndarray
"""One channel of an image, uint8 of any shape."""

_SIXTH = 85
"""A hue of 0..255 times two, in a circle of six times this number."""


def rgb_to_hsv(red: Plane, green: Plane, blue: Plane) -> tuple[Plane, Plane, Plane]:
    """Hue, saturation and value of each pixel, as by Pillow's `convert("HSV")`."""
    highest = np.maximum(np.maximum(red, green), blue)
    spread = highest - np.minimum(np.minimum(red, green), blue)
    below = highest + highest - red - green - blue + (highest - spread)  # the highest minus the middle, modulo 256
    index = _order(red, green, blue).astype(np.int32)
    for part in (spread, below):
        index <<= 8
        index |= part
    # Pillow rounds the quotient to float32, multiplies in float64 and rounds down.
    saturation = np.divide(spread, np.maximum(highest, 1), dtype=np.float32) * np.float64(255)
    return _hues().take(index), saturation.astype(np.uint8), highest


def hsv_to_rgb(hue: Plane, saturation: Plane, value: Plane) -> tuple[Plane, Plane, Plane]:
    """Red, green and blue of each pixel, as by Pillow's `convert("RGB")`.

    A channel is the integer nearest to value * (1 - saturation / 255 * fall / 85). This fraction has an odd
    denominator, so it never lies halfway between two integers. In float32 everything but the quotient is exact.
    """
    saturations, values = saturation.astype(np.float32), value.astype(np.float32)
    one = 255 * _SIXTH
    red, green, blue = (fall.take(hue) for fall in _falls())
    for channel in (red, green, blue):
        channel *= saturations
        np.subtract(one, channel, out=channel)
        channel *= values
        channel /= one
        np.rint(channel, out=channel)
    return red.astype(np.uint8), green.astype(np.uint8), blue.astype(np.uint8)


def _order(red: Plane, green: Plane, blue: Plane) -> Plane:
    """A number below 8 for the order of the channels by size."""
    return (red < green).view(np.uint8) | (green < blue).view(np.uint8) << 1 | (blue < red).view(np.uint8) << 2


@cache
def _hues() -> np.ndarray:
    """Pillow's hue by (order, highest - lowest, highest - middle): the only things on which it depends; 512 KiB."""
    spread, below = np.indices((256, 256), dtype=np.uint8)
    levels = 255 - np.stack([spread, np.minimum(below, spread), np.zeros_like(spread)])
    table = np.zeros((8, 256, 256), np.uint8)
    for ranks in permutations(range(3)):
        order = int(_order(*np.array(ranks)[:, None])[0])
        picture = Image.merge("RGB", [Image.fromarray(levels[rank]) for rank in ranks])
        table[order] = np.asarray(picture.convert("HSV").getchannel("H"))
    return table.ravel()


@cache
def _falls() -> np.ndarray:
    """By how many 85ths of the spread each channel is below the highest, by hue: (3, 256) float32."""
    first_full = np.array([[0], [2], [4]]) * _SIXTH  # where red, green and blue are highest
    away = (np.arange(256) * 2 - first_full) % (6 * _SIXTH)
    falls: np.ndarray = (np.minimum(away, 6 * _SIXTH - away) - _SIXTH).clip(0, _SIXTH).astype(np.float32)
    return falls
