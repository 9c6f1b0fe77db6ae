"""Conversions between RGB and HSV: for every colour the bytes are Pillow's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from gga_sweep.datasets.hsv import Plane, hsv_to_rgb, rgb_to_hsv


@pytest.mark.parametrize(("convert", "source", "target"), [(rgb_to_hsv, "RGB", "HSV"), (hsv_to_rgb, "HSV", "RGB")])
def test_every_colour_is_converted_as_by_pillow(
    convert: Callable[[Plane, Plane, Plane], tuple[Plane, Plane, Plane]], source: str, target: str
) -> None:
    second, third = np.indices((256, 256), dtype=np.uint8)
    for level in range(256):
        planes = np.full_like(second, level), second, third
        picture = Image.merge(source, [Image.fromarray(plane) for plane in planes])
        expected = np.asarray(picture.convert(target))
        np.testing.assert_array_equal(np.stack(convert(*planes), axis=-1), expected, err_msg=f"first channel {level}")
