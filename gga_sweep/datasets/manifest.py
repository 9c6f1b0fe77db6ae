"""The manifest of a tree names every image file, its size and its content: it identifies the dataset."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gga_sweep.datasets.files import MAX_PIXELS_VARIABLE, for_each, make_private, most_pixels, status_of, whole
from gga_sweep.errors import Fault, InputError, StorageError
from gga_sweep.input_files import read_regular

DECODING = 2
"""Increased when the same file decodes to other pixels: all images are then decoded again, and runs have new keys."""

_LARGEST_CACHE = 2**30  # bytes: ten million images have less
_BYTES_PER_PIXEL = 8  # of an uncompressed image of 16 bits with transparency

Fingerprint = tuple[int, int, str]
"""(bytes, modification time in ns, content hash) of a file."""


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One image.

    Args:
        path: relative to the root, with forward slashes: domain/class/file.
        size: bytes.
        content: hash of the bytes, 32 hex digits.
    """

    path: str
    size: int
    content: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every image of a tree, sorted by path."""

    entries: tuple[ManifestEntry, ...]

    @property
    def digest(self) -> str:
        """32 hex digits over paths, sizes, contents and `DECODING`, but not over the location and times of the tree."""
        digest = hashlib.blake2b(f"{DECODING}\n".encode(), digest_size=16)
        for entry in self.entries:
            digest.update(json.dumps([entry.path, entry.size, entry.content]).encode() + b"\n")
        return digest.hexdigest()


def read_manifest(root: Path, paths: Iterable[str], cache_dir: Path | None) -> Manifest:
    """The manifest of the files `paths` (relative to `root`).

    With a `cache_dir`, a file is not read again while its size and modification time are unchanged. A cache that
    another user could alter is not used.

    Raises:
        InputError: naming every file that cannot be read.
        StorageError: the cache cannot be written.
    """
    cache = None if cache_dir is None else _own_cache_file(cache_dir, root)
    known = {} if cache is None else _read_cache(cache)
    found: dict[str, Fingerprint] = {}
    faults: list[Fault] = []

    def fingerprint(path: str) -> Fingerprint | OSError:
        try:
            return _fingerprint(root / path, known.get(path))
        except OSError as error:
            return error

    in_order = sorted(paths)
    for path, outcome in zip(in_order, for_each(fingerprint, in_order), strict=True):
        if isinstance(outcome, OSError):
            faults.append(Fault("dataset.root", f"image must be readable ({outcome.strerror})", path))
        else:
            found[path] = outcome
    if faults:
        raise InputError(faults, source=str(root))
    if cache is not None and found != known:
        _write_cache(cache, found)
    return Manifest(tuple(ManifestEntry(path, size, content) for path, (size, _, content) in found.items()))


def _fingerprint(file: Path, earlier: Fingerprint | None) -> Fingerprint:
    """The earlier one if size and modification time are unchanged; else the file is read."""
    status = status_of(file)  # before reading, so that a change while reading shows at the next call
    if earlier is not None and earlier[:2] == (status.st_size, status.st_mtime_ns):
        return earlier
    if status.st_size > largest_image():
        why = f"larger than {largest_image():,} bytes; {MAX_PIXELS_VARIABLE} in the environment raises the limit"
        raise OSError(errno.EFBIG, why, str(file))
    return status.st_size, status.st_mtime_ns, content_hash(read_regular(file, largest_image()))


def largest_image() -> int:
    """The largest size in bytes of an image's file; raises as `most_pixels`."""
    return _BYTES_PER_PIXEL * most_pixels()


def content_hash(content: bytes) -> str:
    """32 hex digits over the bytes of a file."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def forget(root: Path, cache_dir: Path) -> None:
    """Delete a tree's cached hashes, after a file changed and kept its size and time."""
    with contextlib.suppress(OSError):
        _cache_file(cache_dir, root).unlink()


def _own_cache_file(cache_dir: Path, root: Path) -> Path | None:
    file = _cache_file(cache_dir, root)
    try:
        make_private(file.parent)
    except PermissionError:
        return None
    except OSError as error:
        raise _not_kept(file, error) from error
    return file


def _not_kept(file: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot keep content hashes in {file}: {error.strerror}")


def _cache_file(cache_dir: Path, root: Path) -> Path:
    place = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=4).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name)[:80]
    return cache_dir / "manifests" / f"{readable}-{place}.json"


def _read_cache(file: Path) -> dict[str, Fingerprint]:
    """The result of an earlier call; empty if the file was altered. Its first line is the digest of the second."""
    try:
        head, _, body = read_regular(file, _LARGEST_CACHE).partition(b"\n")
    except OSError:
        return {}
    if head != _digest_line(body):
        return {}
    stored: dict[str, list[int | str]] = json.loads(body)
    return {path: (int(size), int(mtime), str(content)) for path, (size, mtime, content) in stored.items()}


def _write_cache(file: Path, found: dict[str, Fingerprint]) -> None:
    body = json.dumps(found).encode()
    try:
        with whole(file) as draft:
            draft.write_bytes(_digest_line(body) + b"\n" + body)
    except OSError as error:
        raise _not_kept(file, error) from error


def _digest_line(body: bytes) -> bytes:
    return json.dumps(hashlib.blake2b(body, digest_size=16).hexdigest()).encode()
