"""Where the ledger's files live. Always whole files: a reader sees the old one or the new one, never a half."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from gga_sweep.errors import StorageError

_BESIDE = ".new-"


class LedgerStore(Protocol):
    """Seven operations on small files named by relative paths with forward slashes.

    Each raises `StorageError` where the storage cannot be used; a file that is not there is no such case.
    """

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

    def unfinished_writes(self) -> dict[str, int]:
        """What writers that died (or still write) left half made: its size in bytes, by path.

        No other operation but `delete` sees these files.
        """
        ...


class PosixStore:
    """A folder on a local or shared file system: written beside, synced, renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def read(self, path: str) -> bytes | None:
        target = self._locate(path)
        with _storage_errors("read", target):
            try:
                return target.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def put_if_absent(self, path: str, content: bytes) -> bool:
        target = self._locate(path)
        with _storage_errors("write", target):
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
        with _storage_errors("write", target):
            self._write_beside(target, content).replace(target)
            _sync_folder(target.parent)

    def stamp(self, path: str) -> str | None:
        try:
            found = os.stat(f"{self.root}/{_below_root(path)}")  # noqa: PTH116  a report stamps thousands of files
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _storage_error("read", self._locate(path), error) from error
        # A clock may stand still between two writes; a file written beside another has a number of its own.
        return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"

    def list(self, folder: str) -> list[str]:
        target = self._locate(folder)
        with _storage_errors("read", target):
            try:
                return sorted(name for name in os.listdir(target) if not name.startswith("."))  # noqa: PTH208
            except (FileNotFoundError, NotADirectoryError):
                return []

    def delete(self, path: str) -> None:
        target = self._locate(path)
        with _storage_errors("delete", target):
            target.unlink(missing_ok=True)

    def unfinished_writes(self) -> dict[str, int]:
        with _storage_errors("read", self.root):
            found = self.root.rglob(f"{_BESIDE}*")
            return {path.relative_to(self.root).as_posix(): path.stat().st_size for path in found if path.is_file()}

    def _locate(self, path: str) -> Path:
        return self.root.joinpath(_below_root(path))

    def _write_beside(self, target: Path, content: bytes) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.parent / f"{_BESIDE}{uuid.uuid4().hex}"
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
        raise StorageError(f"a path of the ledger must stay below its root, got {path!r}")
    return path


@contextmanager
def _storage_errors(action: str, target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _storage_error(action, target, error) from error


def _storage_error(action: str, target: Path, error: OSError) -> StorageError:
    return StorageError(f"the storage cannot {action} {target}: {error.strerror or error}")


def _sync_folder(folder: Path) -> None:
    """A rename is durable only once its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
