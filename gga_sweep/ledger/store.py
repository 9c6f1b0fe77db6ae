"""Storage of the ledger's files. Files are replaced whole: a reader sees the old content or the new one."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, Protocol, TypeVar

from gga_sweep.errors import StorageError
from gga_sweep.input_files import read_regular

Item = TypeVar("Item")
Result = TypeVar("Result")

_BESIDE, _WRITER = ".new-", ".writer-"
_LARGEST = {".json": 2**26, ".jsonl": 2**28}
_LARGEST_OTHER = 2**36  # bytes of a checkpoint


class FileStat(NamedTuple):
    """What the storage lists about a file, without reading it.

    Args:
        stamp: changes whenever the content does.
        size: in bytes.
    """

    stamp: str
    size: int


class LedgerStore(Protocol):
    """Operations on small files named by relative paths with forward slashes.

    Each raises `StorageError` if the storage cannot be used; a missing file is no such case. A `writer` is a number
    that `admit` has admitted to the file's folder.
    """

    parallel: int
    """The number of requests to make at once; see `for_each`."""

    def read(self, path: str) -> bytes | None:
        """The file's content; None if there is no such file."""
        ...

    def put_if_absent(self, path: str, content: bytes) -> bool:
        """Create the file; False, with nothing written, if it exists. Of several callers at once exactly one wins."""
        ...

    def replace(self, path: str, content: bytes, writer: int | None = None) -> None:
        """Create or overwrite the file, durably."""
        ...

    def admit(self, folder: str, writer: int) -> None:
        """From here on, this writer may write to the folder, and where the storage can refuse them, no lower one may.

        A file system refuses them also if they are in the middle of a write. A bucket cannot.
        """
        ...

    def stats(self, folder: str) -> dict[str, FileStat]:
        """Of every file below a folder, by its path from there; cheap beside reading them."""
        ...

    def list(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty if there is no such folder."""
        ...

    def delete(self, path: str, writer: int | None = None) -> None:
        """Remove the file; no error if it is not there."""
        ...

    def remove_empty(self, folder: str) -> None:
        """Remove a folder that holds nothing, or what its writers left there that holds nothing: none writes any more.

        A bucket has no folders.
        """
        ...

    def unfinished_writes(self, min_age: float = 0.0) -> dict[str, int]:
        """Partly written files of writers that crashed or still write: sizes in bytes, by path.

        No other operation but `delete` sees these files.

        Args:
            min_age: seconds since it was last written, by the clock of the storage.
        """
        ...


def for_each(store: LedgerStore, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results of `work`, which makes requests to the store, for each item in order; `store.parallel` at once."""
    if store.parallel == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(store.parallel) as pool:
        yield from pool.map(work, items)


class PosixStore:
    """A folder on a local or shared file system: written beside, synced, renamed.

    Each writer writes its drafts in a folder of its own. When a later one is admitted, that folder is gone, and with it
    every draft that could still be renamed, however long its writer has stood still.
    """

    parallel = 1

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def read(self, path: str) -> bytes | None:
        target = self._locate(path)
        with _storage_errors("read", target):
            try:
                return read_regular(target, _LARGEST.get(target.suffix, _LARGEST_OTHER))
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

    def replace(self, path: str, content: bytes, writer: int | None = None) -> None:
        target = self._locate(path)
        with _storage_errors("write", target):
            self._write_beside(target, content, writer).replace(target)
            _sync_folder(target.parent)

    def admit(self, folder: str, writer: int) -> None:
        target = self._locate(folder)
        with _storage_errors("write", target):
            _drafts(target, writer).mkdir(parents=True, exist_ok=True)
            for drafts in target.glob(f"{_WRITER}*"):
                if int(drafts.name.removeprefix(_WRITER)) < writer:
                    gone = drafts.with_name(f"{_BESIDE}{uuid.uuid4().hex}")
                    with suppress(FileNotFoundError):  # another writer was quicker
                        drafts.rename(gone)
                        shutil.rmtree(gone, ignore_errors=True)

    def stats(self, folder: str) -> dict[str, FileStat]:
        target = self._locate(folder)
        with _storage_errors("read", target):
            return dict(_stats_below(str(target), ""))

    def list(self, folder: str) -> list[str]:
        target = self._locate(folder)
        with _storage_errors("read", target):
            try:
                return sorted(name for name in os.listdir(target) if not name.startswith("."))  # noqa: PTH208
            except (FileNotFoundError, NotADirectoryError):
                return []

    def delete(self, path: str, writer: int | None = None) -> None:
        target = self._locate(path)
        with _storage_errors("delete", target):
            if writer is None:
                target.unlink(missing_ok=True)
                return
            drafts = _drafts(target.parent, writer)
            try:
                target.replace(drafts / f"{_BESIDE}{uuid.uuid4().hex}").unlink()
            except FileNotFoundError:
                if not drafts.is_dir():
                    raise

    def remove_empty(self, folder: str) -> None:
        target = self._locate(folder)
        for empty in (*target.glob(f"{_WRITER}*"), target):
            with suppress(OSError):  # it holds something, or is not there
                empty.rmdir()

    def unfinished_writes(self, min_age: float = 0.0) -> dict[str, int]:
        youngest, sizes = (self._now() - min_age if min_age else 0.0), {}
        with _storage_errors("read", self.root):
            for path in self.root.rglob(f"{_BESIDE}*"):
                with suppress(FileNotFoundError):
                    found = path.lstat()
                    if S_ISREG(found.st_mode) and (not min_age or found.st_mtime < youngest):
                        sizes[path.relative_to(self.root).as_posix()] = found.st_size
        return sizes

    def _locate(self, path: str) -> Path:
        return self.root.joinpath(below_root(path))

    def _now(self) -> float:
        """By the clock of the storage, which need not be this machine's."""
        try:
            with tempfile.TemporaryFile(dir=self.root) as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:  # cannot be written, so nothing will be removed either
            return time.time()

    def _write_beside(self, target: Path, content: bytes, writer: int | None = None) -> Path:
        folder = target.parent if writer is None else _drafts(target.parent, writer)
        if writer is None:  # the folder of a writer is made when it is admitted, and never again
            folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f"{_BESIDE}{uuid.uuid4().hex}"
        try:
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full disk must not fill up with partly written files
            beside.unlink(missing_ok=True)
            raise
        return beside


def _drafts(folder: Path, writer: int) -> Path:
    return folder / f"{_WRITER}{writer}"


def _stats_below(folder: str, prefix: str) -> Iterator[tuple[str, FileStat]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _stats_below(entry.path, f"{prefix}{entry.name}/")
                    continue
                with suppress(FileNotFoundError):
                    found = entry.stat()
                    if not S_ISREG(found.st_mode):  # a link to a folder, whose files are not the ledger's
                        continue
                    # Two writes may have the same time, but not the same inode.
                    stamp = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
                    yield f"{prefix}{entry.name}", FileStat(stamp, found.st_size)
    except (FileNotFoundError, NotADirectoryError):
        return


def below_root(path: str) -> str:
    """The path itself; StorageError of one that leads out of its root."""
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
