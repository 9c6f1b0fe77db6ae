"""A real disk, of memory, that is soon full. To mount one takes root's rights: elsewhere its tests are skipped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, kib: int) -> Iterator[Path]:
    options = ["-t", "tmpfs", "-o", f"size={kib}k", "tmpfs"]
    if subprocess.run(["mount", *options, folder], check=False, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def leave(disk: Path, kib: int) -> None:
    """Fill the disk until so much is free."""
    make_room(disk)
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(b"." * max(0, free.f_bavail * free.f_frsize - 1024 * kib))


def make_room(disk: Path) -> None:
    (disk / "filler").unlink(missing_ok=True)
