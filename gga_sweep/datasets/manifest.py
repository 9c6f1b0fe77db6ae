"""The manifest of a tree names every image file, its size and its content: it identifies the dataset."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from gga_sweep.datasets.files import for_each, status_of, whole
from gga_sweep.errors import Fault, InputError, StorageError

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
        """32 hex digits over paths, sizes and contents, but not over the location and times of the tree."""
        digest = hashlib.blake2b(digest_size=16)
        for entry in self.entries:
            digest.update(json.dumps([entry.path, entry.size, entry.content]).encode() + b"\n")
        return digest.hexdigest()


def read_manifest(root: Path, paths: Iterable[str], cache_dir: Path | None) -> Manifest:
    """The manifest of the files `paths` (relative to `root`).

    With a `cache_dir`, a file is not read again while its size and modification time are unchanged.

    Raises:
        InputError: naming every file that cannot be read.
        StorageError: the cache cannot be written.
    """
    cache = None if cache_dir is None else _cache_file(cache_dir, root)
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
    with file.open("rb") as opened:
        return status.st_size, status.st_mtime_ns, content_hash(opened)


def content_hash(file: BufferedIOBase) -> str:
    """32 hex digits over the bytes of an open file."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def forget(root: Path, cache_dir: Path) -> None:
    """Delete a tree's cached hashes, after a file changed and kept its size and time."""
    with contextlib.suppress(OSError):
        _cache_file(cache_dir, root).unlink()


def _cache_file(cache_dir: Path, root: Path) -> Path:
    place = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=4).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name)[:80]
    return cache_dir / "manifests" / f"{readable}-{place}.json"


def _read_cache(file: Path) -> dict[str, Fingerprint]:
    """The result of an earlier call; empty if the file was altered. Its first line is the digest of the second."""
    try:
        status_of(file)
        head, _, body = file.read_bytes().partition(b"\n")
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
        raise StorageError(f"cannot keep content hashes in {file}: {error.strerror}") from error


def _digest_line(body: bytes) -> bytes:
    return json.dumps(hashlib.blake2b(body, digest_size=16).hexdigest()).encode()
