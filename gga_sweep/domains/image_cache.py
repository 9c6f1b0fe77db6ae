"""Each photograph is decoded once, at the stored size, into an array that is mapped from then on."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from gga_sweep.domains.files import alone, for_each, status_of, whole
from gga_sweep.errors import Fault, InputError, StorageError

if TYPE_CHECKING:  # a sweep is planned without loading torch
    from torch import Tensor


def decode(path: Path, size: int) -> np.ndarray:
    """One photograph as DomainBed evaluates it: RGB, resized to (size, size), bilinear; (3, size, size) uint8."""
    return np.asarray(photograph(path).resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def photograph(path: Path) -> Image.Image:
    """All of it decoded, as RGB. On a broken file it raises whatever the decoders stumble over."""
    status_of(path)
    with Image.open(path) as image:
        return image.convert("RGB")


def decode_all(root: Path, paths: Sequence[str], size: int) -> Iterator[np.ndarray | Fault]:
    """The photographs in the order of `paths`; a fault in the place of one that does not open."""

    def attempt(path: str) -> np.ndarray | Fault:
        try:
            return decode(root / path, size)
        except Exception as error:  # on a broken file the decoders raise whatever they stumble over
            return Fault("dataset.root", f"image must open ({why_unreadable(error)})", path)

    return for_each(attempt, paths)


def why_unreadable(error: Exception) -> str:
    """What a decoder raised over an image, in words."""
    if isinstance(error, UnidentifiedImageError):  # its own text repeats the path
        return "of no known format"
    return f"{type(error).__name__}: {error}"


def images_in_memory(root: Path, paths: Sequence[str], size: int) -> Tensor:
    """Decode photographs: (n, 3, size, size) uint8.

    Raises:
        InputError: naming every image that does not open.
    """
    import torch

    images = np.empty((len(paths), 3, size, size), dtype=np.uint8)
    for row, image in enumerate(_all_or_faults(decode_all(root, paths, size), root)):
        images[row] = image
    return torch.from_numpy(images)


def images_on_disk(root: Path, paths: Sequence[str], size: int, file: Path) -> Tensor:
    """The photographs as a read-only map of `file`, which is written first if it is not there, whole.

    Among processes on one machine that ask for the same file one decodes and the others wait.

    Args:
        root, paths: where the images are.
        size: side in pixels.
        file: the array; its name must change with the images' content.

    Returns:
        (n, 3, size, size) uint8. Writing to it ends the process: take copies by indexing.

    Raises:
        InputError: naming every image that does not open; nothing is left behind then.
        StorageError: the file cannot be written or read.
    """
    import torch

    shape = (len(paths), 3, size, size)
    try:
        if not _is_whole(file, shape):
            with alone(file.with_suffix(".lock")):
                if not _is_whole(file, shape):
                    _write(root, paths, size, file)
        mapped = np.memmap(file, np.uint8, "r", offset=len(_header(shape)), shape=shape)
    except OSError as error:
        raise StorageError(f"cannot keep decoded images in {file}: {error.strerror or error}") from error
    with warnings.catch_warnings():  # torch warns of what the docstring says; a private map would reserve its size
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(mapped)


Shape = tuple[int, int, int, int]


def _is_whole(file: Path, shape: Shape) -> bool:
    """Whether a file has the beginning and the length of an array that was written."""
    header = _header(shape)
    try:
        if status_of(file).st_size != len(header) + math.prod(shape):
            return False
        with file.open("rb") as stored:
            return stored.read(len(header)) == header
    except OSError:
        return False


def _header(shape: Shape) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _write(root: Path, paths: Sequence[str], size: int, file: Path) -> None:
    with whole(file) as draft, draft.open("wb") as output:
        output.write(_header((len(paths), 3, size, size)))
        for image in _all_or_faults(decode_all(root, paths, size), root):
            output.write(np.ascontiguousarray(image).data)


def _all_or_faults(images: Iterator[np.ndarray | Fault], root: Path) -> Iterator[np.ndarray]:
    """Pass the images on; from the first fault on look for more of them, then raise them all."""
    faults: list[Fault] = []
    for image in images:
        if isinstance(image, Fault):
            faults.append(image)
        elif not faults:
            yield image
    if faults:
        raise InputError(faults, source=str(root))
