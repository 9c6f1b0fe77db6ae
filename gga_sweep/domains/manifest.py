"""A manifest names every image file of a tree, its size and its content: it identifies the dataset."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gga_sweep.domains.files import for_each, whole
from gga_sweep.errors import Fault, InputError

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
        """32 hex digits over paths, sizes and contents: neither where the tree lies nor when it was written."""
        digest = hashlib.blake2b(digest_size=16)
        for entry in self.entries:
            digest.update(json.dumps([entry.path, entry.size, entry.content]).encode() + b"\n")
        return digest.hexdigest()


def read_manifest(root: Path, paths: Iterable[str], cache_dir: Path | None) -> Manifest:
    """The manifest of the files `paths` (relative to `root`).

    With a `cache_dir`, a file whose size and modification time are those of an earlier call is not read again.

    Raises:
        InputError: naming every file that cannot be read.
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
    """The earlier one, if size and modification time are still the same; else the file is read."""
    status = file.stat()  # before reading: a change in between shows as another time
    if earlier is not None and earlier[:2] == (status.st_size, status.st_mtime_ns):
        return earlier
    return status.st_size, status.st_mtime_ns, content_hash(file)


def content_hash(path: Path) -> str:
    """32 hex digits over a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _cache_file(cache_dir: Path, root: Path) -> Path:
    place = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=4).hexdigest()
    return cache_dir / "manifests" / f"{root.resolve().name}-{place}.json"


def _read_cache(file: Path) -> dict[str, Fingerprint]:
    if not file.exists():
        return {}
    stored: dict[str, list[int | str]] = json.loads(file.read_text())
    return {path: (int(size), int(mtime), str(content)) for path, (size, mtime, content) in stored.items()}


def _write_cache(file: Path, found: dict[str, Fingerprint]) -> None:
    with whole(file) as draft:
        draft.write_text(json.dumps(found))
