"""Photographs are decoded once, as DomainBed's evaluation sees them."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest
import torch
from PIL import Image
from small_disk import leave, make_room, mounted, read_only
from torchvision import transforms

from gga_sweep.datasets import image_cache
from gga_sweep.datasets.image_cache import (
    OnDecoded,
    UnfitImageError,
    decode,
    images_in_memory,
    images_on_disk,
    require_room,
)
from gga_sweep.datasets.manifest import ManifestEntry, read_manifest
from gga_sweep.errors import InputError, StorageError

WriteTree = Callable[..., Path]
PATHS = [f"art/cat/{index}.{'png' if index % 2 else 'JPG'}" for index in range(4)]


def listed(root: Path) -> tuple[ManifestEntry, ...]:
    return read_manifest(root, PATHS, None).entries


def read_images(
    root: Path, entries: Sequence[ManifestEntry], file: Path | None, on_decoded: OnDecoded | None = None
) -> torch.Tensor:
    """On disk where a file is given, else in memory."""
    if file is None:
        return images_in_memory(root, entries, 24, on_decoded)
    return images_on_disk(root, entries, 24, file, on_decoded)


def reference(path: Path, size: int) -> torch.Tensor:
    """DomainBed's evaluation transform before its normalisation, as bytes."""
    with Image.open(path) as image:
        resized = transforms.Resize((size, size))(image.convert("RGB"))
    pixels: torch.Tensor = transforms.PILToTensor()(resized)
    return pixels


@pytest.mark.parametrize("size", [8, 24, 64])
def test_pixels_are_those_of_the_evaluation_transform(write_tree: WriteTree, size: int) -> None:
    root = write_tree()
    images = images_in_memory(root, listed(root), size)
    assert torch.equal(images, torch.stack([reference(root / path, size) for path in PATHS]))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_pictures_of_every_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "picture.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(file)
    assert torch.equal(torch.from_numpy(decode(file.read_bytes(), 16)), reference(file, 16))


GREY = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


@pytest.mark.parametrize("name", ["picture.png", "picture.pgm", "picture.tif"])
def test_of_16_bits_a_pixel_the_upper_eight_count(tmp_path: Path, name: str) -> None:
    low = np.random.default_rng(1).integers(0, 256, GREY.shape, dtype=np.uint16)
    Image.fromarray(GREY.astype(np.uint16) * 256 + low).save(tmp_path / name)
    Image.fromarray(GREY).save(tmp_path / "8 bits.png")
    expected = decode((tmp_path / "8 bits.png").read_bytes(), 16)
    assert np.array_equal(decode((tmp_path / name).read_bytes(), 16), expected)


@pytest.mark.parametrize("pixels", [GREY.astype(np.int32), GREY.astype(np.float32)])
def test_pixels_of_32_bits_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "picture.tif")
    with pytest.raises(UnfitImageError, match="of 8 or 16 bits, not of 32 or signed"):
        decode((tmp_path / "picture.tif").read_bytes(), 16)


def test_transparency_of_any_kind_is_dropped_as_by_torchvision_and_without_a_warning(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY).convert("P")
    for number, transparency in enumerate((7, bytes(range(256)))):
        file = tmp_path / f"{number}.png"
        picture.save(file, transparency=transparency)
        assert np.array_equal(decode(file.read_bytes(), 16), reference(tmp_path / "0.png", 16))


def test_a_file_of_another_format_is_not_opened_whatever_its_suffix_says(
    write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree()
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%Page: 1 1\nshowpage\n%%EOF\n"
    (root / PATHS[1]).write_bytes(eps)
    monkeypatch.setattr(subprocess, "Popen", None)  # Ghostscript
    with pytest.raises(InputError, match=r"must open \(not of the formats .*PNG.*\), got 'art/cat/1.png'"):
        images_in_memory(root, listed(root), 24)


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims so many pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(
    write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree()
    (root / PATHS[1]).write_bytes(png_of(13_000, 14_000))
    with pytest.raises(InputError) as raised:
        images_in_memory(root, listed(root), 24)
    assert [str(fault) for fault in raised.value.faults] == [
        "dataset.root: image must open (13000 x 14000 = 182,000,000 pixels, more than 89,478,485; "
        "GGA_SWEEP_MAX_PIXELS in the environment raises the limit), got 'art/cat/1.png'"
    ]
    (root / PATHS[1]).write_bytes(png_of(1_000, 1_000))
    monkeypatch.setenv("GGA_SWEEP_MAX_PIXELS", "999999")
    with pytest.raises(InputError, match="1000 x 1000 = 1,000,000 pixels, more than 999,999"):
        images_in_memory(root, listed(root), 24)
    monkeypatch.setenv("GGA_SWEEP_MAX_PIXELS", "1000000")
    with pytest.raises(InputError, match=r"must open \(OSError.* truncated"):
        images_in_memory(root, listed(root), 24)
    monkeypatch.setenv("GGA_SWEEP_MAX_PIXELS", "many")
    with pytest.raises(InputError, match="GGA_SWEEP_MAX_PIXELS: must be a positive whole number, got 'many'"):
        images_in_memory(root, listed(root), 24)


def test_on_disk_and_in_memory_are_the_same(write_tree: WriteTree, tmp_path: Path) -> None:
    root = write_tree()
    mapped = images_on_disk(root, listed(root), 24, tmp_path / "cache" / "art.npy")
    assert torch.equal(mapped, images_in_memory(root, listed(root), 24))
    assert np.load(tmp_path / "cache" / "art.npy").shape == (4, 3, 24, 24)


def test_a_second_load_decodes_nothing(write_tree: WriteTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree()
    first = images_on_disk(root, listed(root), 24, tmp_path / "art.npy")

    def forbid(content: bytes, size: int) -> np.ndarray:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(image_cache, "decode", forbid)
    assert torch.equal(images_on_disk(root, listed(root), 24, tmp_path / "art.npy"), first)
    with pytest.raises(InputError, match="it was decoded"):
        images_on_disk(root, listed(root), 24, tmp_path / "other.npy")


ASKS = """
import sys, time
from pathlib import Path
from gga_sweep.datasets import image_cache
from gga_sweep.datasets.image_cache import images_on_disk
from gga_sweep.datasets.manifest import read_manifest
root, file = map(Path, sys.argv[1:3])
decode = image_cache.decode
image_cache.decode = lambda content, size: (time.sleep(0.2), decode(content, size))[1]
counts = []
entries = read_manifest(root, sys.argv[3:], None).entries
print("ready", flush=True)
sys.stdin.readline()
images = images_on_disk(root, entries, 24, file, counts.append)
print(len(counts), int(images.sum()), flush=True)
"""


def test_of_two_concurrent_processes_one_decodes(write_tree: WriteTree, tmp_path: Path) -> None:
    root = write_tree()
    command = [sys.executable, "-c", ASKS, str(root), str(tmp_path / "cache" / "art.npy"), *PATHS]
    askers = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) for _ in range(2)]
    for asker in askers:
        assert asker.stdout is not None
        assert asker.stdout.readline() == "ready\n"
    for asker in askers:
        assert asker.stdin is not None
        asker.stdin.write("\n")
        asker.stdin.flush()
    answers = [asker.communicate(timeout=60)[0].split() for asker in askers]
    assert sorted(int(counts) for counts, _ in answers) == [0, len(PATHS)]
    assert {int(total) for _, total in answers} == {int(images_in_memory(root, listed(root), 24).sum())}


def test_drafts_of_a_killed_process_are_removed_by_the_next_writer(write_tree: WriteTree, tmp_path: Path) -> None:
    root, file = write_tree(), tmp_path / "art.npy"
    left = file.with_name(f"art.npy.{'0a' * 16}")
    others = [tmp_path / f"photo.npy.{'0a' * 16}", tmp_path / "art.npy.npy"]
    for path in (left, *others):
        path.write_bytes(b"half")
    images_on_disk(root, listed(root), 24, file)
    assert not left.exists()
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("on_disk", [False, True])
def test_every_image_that_changed_since_it_was_listed_is_named(
    write_tree: WriteTree, tmp_path: Path, on_disk: bool
) -> None:
    root = write_tree()
    entries = listed(root)
    for path in (PATHS[0], PATHS[3]):
        Image.new("RGB", (9, 9)).save(root / path)
    file = root / PATHS[0]
    file.write_bytes(file.read_bytes().ljust(entries[0].size, b"\0"))  # as long as it was, and it opens
    with pytest.raises(InputError) as raised:
        read_images(root, entries, tmp_path / "cache" / "art.npy" if on_disk else None)
    assert [str(fault) for fault in raised.value.faults] == [
        f"dataset.root: image changed since it was listed, got {path!r}" for path in (PATHS[0], PATHS[3])
    ]
    assert [file.name for file in tmp_path.glob("cache/*")] == (["art.lock"] if on_disk else [])


def test_room_is_asked_for_in_bytes(tmp_path: Path) -> None:
    require_room(tmp_path / "not" / "there" / "yet", 10, 224)
    with pytest.raises(StorageError) as raised:
        require_room(tmp_path / "cache", 10**12, 224)
    assert re.search(rf"need 150,528,[\d,]+ bytes in {tmp_path}/cache: [\d,]+ bytes are free", str(raised.value))
    assert "GGA_SWEEP_CACHE names another folder" in str(raised.value)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of 256 KiB."""
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", 256) as disk:
        yield disk


def test_a_disk_that_fills_up_meanwhile_keeps_no_half_file(write_tree: WriteTree, disk: Path) -> None:
    root, file = write_tree(), disk / "cache" / "art.npy"
    leave(disk, 64)
    with pytest.raises(StorageError) as raised:
        images_on_disk(root, listed(root), 96, file)  # 4 of 27 KiB
    assert f"need {4 * 3 * 96**2 + 128:,} bytes in {disk}/cache: No space left on device" in str(raised.value)
    assert "GGA_SWEEP_CACHE" in str(raised.value)
    assert [left.name for left in file.parent.iterdir()] == ["art.lock"]
    make_room(disk)
    assert torch.equal(images_on_disk(root, listed(root), 96, file), images_in_memory(root, listed(root), 96))


def test_a_cache_on_a_read_only_disk_is_used(write_tree: WriteTree, disk: Path) -> None:
    root = write_tree()
    kept = images_on_disk(root, listed(root), 24, disk / "art.npy").clone()
    with read_only(disk):
        assert torch.equal(images_on_disk(root, listed(root), 24, disk / "art.npy"), kept)
        with pytest.raises(
            StorageError, match=r"in .*other\.npy: Read-only file system \(GGA_SWEEP_CACHE names another"
        ):
            images_on_disk(root, listed(root), 24, disk / "other.npy")


def test_every_broken_image_is_named_and_nothing_is_left_behind(write_tree: WriteTree, tmp_path: Path) -> None:
    root = write_tree()
    (root / PATHS[0]).write_bytes((root / PATHS[0]).read_bytes()[:-300])  # cut off
    (root / PATHS[1]).write_text("no picture")
    (root / PATHS[3]).write_bytes(b"")

    with pytest.raises(InputError) as in_memory:
        images_in_memory(root, listed(root), 24)
    with pytest.raises(InputError) as on_disk:
        images_on_disk(root, listed(root), 24, tmp_path / "cache" / "art.npy")

    for raised in (in_memory, on_disk):
        assert len(raised.value.faults) == 3
        assert all(path in str(raised.value) for path in (PATHS[0], PATHS[1], PATHS[3]))
        assert PATHS[2] not in str(raised.value)
        assert "truncated" in str(raised.value)
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".lock"]
