"""Where the ledger's files live. Always whole files: a reader sees the old one or the new one, never a half."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Protocol


class LedgerStore(Protocol):
    """Six operations on small files named by relative paths with forward slashes."""

    def read(self, path: str) -> bytes | None:
        """The file's content; None if there is no such file."""
        ...

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """Create the file; False, with nothing written, if it exists. Of several callers at once exactly one wins."""
        ...

    def replace(self, path: str, content: bytes) -> None:
        """Create or overwrite the file, durably."""
        ...

    def stamp(self, path: str) -> str | None:
        """A word that changes whenever the file is written, cheap beside reading it; None if there is no such file."""
        ...

    def list(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty if there is no such folder."""
        ...

    def delete(self, path: str) -> None:
        """Remove the file; no error if it is not there."""
        ...


class PosixStore:
    """A folder on a local or shared file system: written beside, synced, renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def read(self, path: str) -> bytes | None:
        try:
            return self._locate(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def put_if_absent(self, path: str, content: bytes) -> bool:
        target = self._locate(path)
        beside = self._write_beside(target, content)
        try:
            os.link(beside, target)  # fails if the target exists, and shows only whole files
        except FileExistsError:
            return False
        finally:
            beside.unlink()
        _sync_folder(target.parent)
        return True

    def replace(self, path: str, content: bytes) -> None:
        target = self._locate(path)
        self._write_beside(target, content).replace(target)
        _sync_folder(target.parent)

    def stamp(self, path: str) -> str | None:
        try:
            found = os.stat(f"{self.root}/{_below_root(path)}")  # noqa: PTH116  a report stamps thousands of files
        except (FileNotFoundError, NotADirectoryError):
            return None
        # A clock may stand still between two writes; a file written beside another has a number of its own.
        return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"

    def list(self, folder: str) -> list[str]:
        try:
            return sorted(path.name for path in self._locate(folder).iterdir() if not path.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, path: str) -> None:
        self._locate(path).unlink(missing_ok=True)

    def _locate(self, path: str) -> Path:
        return self.root.joinpath(_below_root(path))

    def _write_beside(self, target: Path, content: bytes) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.parent / f".new-{uuid.uuid4().hex}"
        try:
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full disk must not fill up with halves
            beside.unlink(missing_ok=True)
            raise
        return beside


def _below_root(path: str) -> str:
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f"a ledger path must stay below its root, got {path!r}")
    return path


def _sync_folder(folder: Path) -> None:
    """A rename is durable only once its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
