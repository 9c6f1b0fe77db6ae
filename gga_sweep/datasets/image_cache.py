"""Decode each photograph once, at the stored size, into a file that later loads map into memory."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401  it registers itself

from gga_sweep.datasets.files import (
    MAX_PIXELS_VARIABLE,
    alone,
    drop_drafts,
    for_each,
    free_bytes,
    make_private,
    most_pixels,
    status_of,
    whole,
)
from gga_sweep.datasets.manifest import ManifestEntry, content_hash, largest_image
from gga_sweep.errors import Fault, GGASweepError, InputError, StorageError
from gga_sweep.input_files import read_regular

if TYPE_CHECKING:  # a sweep is planned without loading torch
    from torch import Tensor

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the formats that are decoded, whatever the suffix says."""

CHANGED = "image changed since it was listed"
"""The rule of a fault: the file's bytes are not those of the manifest."""

OnDecoded = Callable[[int], None]
"""Called with the number of images decoded so far."""

Shape = tuple[int, int, int, int]

_BITS = 258  # TIFF's tag BitsPerSample
_LARGE = 2**24  # pixels; larger images are decoded one at a time, or eight threads would need gigabytes
_one_large = threading.Lock()

_ELSEWHERE = "GGA_SWEEP_CACHE names another folder"


def decoded_file(cache_dir: Path, digest: str, size: int, domain: str) -> Path:
    """The path of a domain's decoded images. Its name contains everything that affects its content.

    Args:
        digest: of the dataset's manifest.
        size: side in pixels.
    """
    return cache_dir / f"{digest[:16]}-{size}" / f"{domain}.npy"


def image_bytes(path: Path) -> bytes:
    """The content of an image's file; OSError if it is not a regular file, or too large."""
    return read_regular(path, largest_image())


class UnfitImageError(ValueError):
    """An image that is not decoded, although its decoder could."""


def photograph(content: bytes) -> Image.Image:
    """The whole image, as RGB. A broken file raises whatever its decoder raises.

    As torchvision's `convert("RGB")`, but for 16 bits a pixel: of these the upper eight count, as in 16-bit RGB.
    Transparency is dropped; the colors below it are kept.

    Raises:
        UnfitImageError: too many pixels, or pixels that are not of 8 or 16 bits.
    """
    with _open(content) as image:
        pixels = image.width * image.height
        if pixels > most_pixels():
            size = f"{image.width} x {image.height} = {pixels:,} pixels, more than {most_pixels():,}"
            raise UnfitImageError(f"{size}; {MAX_PIXELS_VARIABLE} in the environment raises the limit")
        with _one_large if pixels > _LARGE else contextlib.nullcontext():
            return _as_rgb(image)


def _open(content: bytes) -> Image.Image:
    """As `Image.open` with our formats, without its own limits, which warn in each process and cannot be raised."""
    Image.preinit()
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        try:
            if accepts is None or accepts(content[:16]) is True:
                return factory(io.BytesIO(content), "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # not of this format after all
            continue
    raise UnidentifiedImageError


def _as_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode == "RGB":
        return image  # `convert` would copy it
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        bits = image.tag_v2[_BITS][0] if isinstance(image, TiffImagePlugin.TiffImageFile) else 16
        return Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnfitImageError("pixels must be of 8 or 16 bits, not of 32 or signed: convert the image")
    image.info.pop("transparency", None)  # it does not change RGB, and Pillow would warn of it
    return image.convert("RGB")


def decode(content: bytes, size: int) -> np.ndarray:
    """One photograph as DomainBed evaluates it: RGB, resized to (size, size), bilinear; (3, size, size) uint8."""
    pixels = np.asarray(photograph(content).resize((size, size), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # here, in the thread, not where all are written


def decode_all(root: Path, entries: Sequence[ManifestEntry], size: int) -> Iterator[np.ndarray | Fault]:
    """The photographs in the order of `entries`; a fault in place of one that changed or does not open.

    Each file is read once: the decoded bytes are those that were compared with the manifest.
    """

    def attempt(entry: ManifestEntry) -> np.ndarray | Fault:
        try:
            content = image_bytes(root / entry.path)
            if len(content) != entry.size or content_hash(content) != entry.content:
                return Fault("dataset.root", CHANGED, entry.path)
            return decode(content, size)
        except GGASweepError:
            raise
        except Exception as error:  # a decoder may raise anything on a broken file
            return Fault("dataset.root", f"image must open ({why_unreadable(error)})", entry.path)

    return for_each(attempt, entries)


def why_unreadable(error: Exception) -> str:
    """The error of a decoder on an image, in words."""
    if isinstance(error, UnidentifiedImageError):  # its own text repeats the path
        return f"not of the formats {', '.join(FORMATS)}"
    if isinstance(error, UnfitImageError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def images_in_memory(
    root: Path, entries: Sequence[ManifestEntry], size: int, on_decoded: OnDecoded | None = None
) -> Tensor:
    """Decode photographs: (n, 3, size, size) uint8.

    Raises:
        InputError: naming every image that changed or does not open.
    """
    import torch

    images = np.empty((len(entries), 3, size, size), dtype=np.uint8)
    for row, image in enumerate(_all_or_faults(decode_all(root, entries, size), root, on_decoded)):
        images[row] = image
    return torch.from_numpy(images)


def images_on_disk(
    root: Path, entries: Sequence[ManifestEntry], size: int, file: Path, on_decoded: OnDecoded | None = None
) -> Tensor:
    """The photographs as a read-only map of `file`, which is written first if it is not there, whole.

    Of several processes on a machine that need the same file, one decodes and the others wait.

    Args:
        root, entries: where the images are, and what they are.
        size: side in pixels.
        file: of `decoded_file`.
        on_decoded: called after each image that this call decodes.

    Returns:
        (n, 3, size, size) uint8. Writing to it ends the process: take copies by indexing.

    Raises:
        InputError: naming every image that changed or does not open; nothing is left behind then.
        StorageError: the file cannot be written or read.
    """
    import torch

    shape = (len(entries), 3, size, size)
    try:
        _decode_once(root, entries, size, file, on_decoded)
        mapped = np.memmap(file, np.uint8, "r", offset=len(_header(shape)), shape=shape)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(file.parent, _bytes(shape), str(error.strerror)) from error
        rule = f"cannot keep decoded images in {file}: {error.strerror or error} ({_ELSEWHERE})"
        raise StorageError(rule) from error
    with warnings.catch_warnings():  # torch warns of what the docstring says; a private map would reserve its size
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(mapped)


def is_decoded(file: Path, n_images: int, size: int) -> bool:
    """Whether a file has the beginning and the length of an array that was written."""
    shape = (n_images, 3, size, size)
    try:
        if status_of(file).st_size != _bytes(shape):
            return False
        with file.open("rb") as stored:
            return stored.read(len(_header(shape))) == _header(shape)
    except OSError:
        return False


def require_private(file: Path) -> None:
    """StorageError if another user could alter a file of decoded images."""
    try:
        make_private(file.parent)
    except OSError as error:
        rule = f"cannot keep decoded images in {error.filename}: {error.strerror} ({_ELSEWHERE})"
        raise StorageError(rule) from error


def require_room(folder: Path, n_images: int, size: int) -> None:
    """StorageError unless so many decoded images fit on the disk of a folder."""
    needed = _bytes((n_images, 3, size, size))
    try:
        free = free_bytes(folder)
    except OSError:
        return  # writing to the folder reports what is wrong with it
    if needed > free:
        raise _no_room(folder, needed, f"{free:,} bytes are free")


def _no_room(folder: Path, needed: int, why: str) -> StorageError:
    return StorageError(f"decoded images need {needed:,} bytes in {folder}: {why} ({_ELSEWHERE})")


def _bytes(shape: Shape) -> int:
    return len(_header(shape)) + math.prod(shape)


def _header(shape: Shape) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _decode_once(
    root: Path, entries: Sequence[ManifestEntry], size: int, file: Path, on_decoded: OnDecoded | None
) -> None:
    """Write the file if it is not there. Of several processes the first writes it; the others wait, then find it."""
    if is_decoded(file, len(entries), size):
        return
    with alone(file.with_suffix(".lock")) as locked:
        if is_decoded(file, len(entries), size):
            return
        if locked:
            drop_drafts(file)
        _write(root, entries, size, file, on_decoded)


def _write(root: Path, entries: Sequence[ManifestEntry], size: int, file: Path, on_decoded: OnDecoded | None) -> None:
    with whole(file) as draft, draft.open("wb") as output:
        output.write(_header((len(entries), 3, size, size)))
        for image in _all_or_faults(decode_all(root, entries, size), root, on_decoded):
            output.write(image.data)


def _all_or_faults(
    images: Iterator[np.ndarray | Fault], root: Path, on_decoded: OnDecoded | None
) -> Iterator[np.ndarray]:
    """Yield the images up to the first fault, then collect all further faults and raise them."""
    faults: list[Fault] = []
    for done, image in enumerate(images, start=1):
        if isinstance(image, Fault):
            faults.append(image)
        elif not faults:
            yield image
        if on_decoded is not None:
            on_decoded(done)
    if faults:
        raise InputError(faults, source=str(root))
