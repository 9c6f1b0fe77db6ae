"""Trees of photographs to read, small and different from each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteTree = Callable[..., Path]


@pytest.fixture
def write_tree(tmp_path: Path) -> WriteTree:
    """Write root/domain/class/image: noise, no two images alike, as PNG and JPEG of unequal sizes."""

    def write(
        root: str = "tree",
        domains: Sequence[str] = ("art", "photo", "sketch", "toy box"),
        classes: Sequence[str] = ("cat", "dog", "elk"),
        per_class: int = 4,
    ) -> Path:
        rng = np.random.default_rng(0)
        for domain in domains:
            for name in classes:
                folder = tmp_path / root / domain / name
                folder.mkdir(parents=True)
                for index in range(per_class):
                    height, width = rng.integers(20, 60, size=2)
                    pixels = rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{index}.{'png' if index % 2 else 'JPG'}")
        return tmp_path / root

    return write
