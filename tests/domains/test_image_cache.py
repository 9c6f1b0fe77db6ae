"""Photographs are decoded once, as DomainBed's evaluation sees them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from gga_sweep.domains import image_cache
from gga_sweep.domains.image_cache import decode, images_in_memory, images_on_disk
from gga_sweep.errors import InputError

WriteTree = Callable[..., Path]
PATHS = [f"art/cat/{index}.{'png' if index % 2 else 'JPG'}" for index in range(4)]


def reference(path: Path, size: int) -> torch.Tensor:
    """DomainBed's evaluation transform before its normalisation, as bytes."""
    with Image.open(path) as image:
        resized = transforms.Resize((size, size))(image.convert("RGB"))
    pixels: torch.Tensor = transforms.PILToTensor()(resized)
    return pixels


@pytest.mark.parametrize("size", [8, 24, 64])
def test_pixels_are_those_of_the_evaluation_transform(write_tree: WriteTree, size: int) -> None:
    root = write_tree()
    images = images_in_memory(root, PATHS, size)
    assert torch.equal(images, torch.stack([reference(root / path, size) for path in PATHS]))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_pictures_of_every_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "picture.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)
    assert torch.equal(torch.from_numpy(decode(file, 16).copy()), reference(file, 16))


def test_on_disk_and_in_memory_are_the_same(write_tree: WriteTree, tmp_path: Path) -> None:
    root = write_tree()
    mapped = images_on_disk(root, PATHS, 24, tmp_path / "cache" / "art.npy")
    assert torch.equal(mapped, images_in_memory(root, PATHS, 24))
    assert np.load(tmp_path / "cache" / "art.npy").shape == (4, 3, 24, 24)


def test_a_second_load_decodes_nothing(write_tree: WriteTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree()
    first = images_on_disk(root, PATHS, 24, tmp_path / "art.npy")

    def forbid(path: Path, size: int) -> np.ndarray:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setattr(image_cache, "decode", forbid)
    assert torch.equal(images_on_disk(root, PATHS, 24, tmp_path / "art.npy"), first)
    with pytest.raises(InputError, match="was decoded"):
        images_on_disk(root, PATHS, 24, tmp_path / "other.npy")


def test_of_several_that_ask_at_once_one_decodes(
    write_tree: WriteTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree()
    decoded: list[Path] = []

    def note(path: Path, size: int) -> np.ndarray:
        decoded.append(path)
        return decode(path, size)

    monkeypatch.setattr(image_cache, "decode", note)
    askers = [threading.Thread(target=images_on_disk, args=(root, PATHS, 24, tmp_path / "art.npy")) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(decoded) == sorted(root / path for path in PATHS)


def test_every_broken_image_is_named_and_nothing_is_left_behind(write_tree: WriteTree, tmp_path: Path) -> None:
    root = write_tree()
    (root / PATHS[0]).write_bytes((root / PATHS[0]).read_bytes()[:-300])  # cut off
    (root / PATHS[1]).write_text("no picture")
    (root / PATHS[3]).write_bytes(b"")

    with pytest.raises(InputError) as in_memory:
        images_in_memory(root, PATHS, 24)
    with pytest.raises(InputError) as on_disk:
        images_on_disk(root, PATHS, 24, tmp_path / "cache" / "art.npy")

    for raised in (in_memory, on_disk):
        assert len(raised.value.faults) == 3
        assert all(path in str(raised.value) for path in (PATHS[0], PATHS[1], PATHS[3]))
        assert PATHS[2] not in str(raised.value)
        assert "truncated" in str(raised.value)
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".lock"]
