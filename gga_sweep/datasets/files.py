"""File system helpers: work on many files at once, write files atomically, lock among processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gga_sweep.errors import Fault, InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, how many there are), always by one thread."""

THREADS = min(8, os.cpu_count() or 1)
LONGEST_NAME = 200  # bytes: file systems take 255, and a cache adds to a domain's name
_SHOWN = 5  # names in a fault
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, undecodable bytes, ends of lines
_TASK = 16  # items: keeps the pool's own cost small, even for a function that only reads a file's size
_WINDOW = 4 * THREADS * _TASK  # items submitted at once: results must not pile up unread


def expanded(path: Path, field: str) -> Path:
    """The path with `~` and `~user` replaced; InputError at a user without a home."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError([Fault(field, "home directory not found", str(path))]) from error


def is_folder(path: Path) -> bool:
    """Whether it is a folder; False too if it cannot be looked up (name too long, no permission)."""
    try:
        return path.is_dir()
    except OSError:
        return False


def status_of(file: Path) -> os.stat_result:
    """The status of a regular file; OSError for any other, since opening a pipe would block."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(file))
    return status


def is_plain(name: str) -> bool:
    """Whether a name may stand for a domain, a class or an image: in tables, in paths, in files that are UTF-8."""
    if name in ("", ".", "..") or "/" in name or len(name.encode(errors="surrogatepass")) > LONGEST_NAME:
        return False
    return name.isprintable() or _UNFIT.isdisjoint(map(unicodedata.category, name))


def unfit_names(field: str, paths: Sequence[str]) -> list[Fault]:
    """One fault for all paths whose names are not plain; none without such a path."""
    rule = f"names of folders and images must be text in UTF-8, in one line, of at most {LONGEST_NAME} bytes"
    return [Fault(field, rule, shown(paths))] if paths else []


def shown(names: Sequence[str]) -> list[str]:
    """The first few of many names, and how many more there are."""
    more = len(names) - _SHOWN
    return [*names[:_SHOWN], f"and {more} more"] if more > 0 else list(names)


def for_each(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`function` of every item, in their order, computed by a few threads."""

    def work(task: Sequence[Item]) -> list[Result]:
        return [function(item) for item in task]

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(items), _WINDOW):
            window = items[start : start + _WINDOW]
            tasks = [window[first : first + _TASK] for first in range(0, len(window), _TASK)]
            for results in pool.map(work, tasks):
                yield from results


@contextlib.contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A draft that replaces `file` if the block succeeds, so that no reader sees a partial file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        yield draft
        with draft.open("rb") as written:
            os.fsync(written.fileno())  # else a power cut may leave an empty file
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def drop_drafts(file: Path) -> None:
    """Delete drafts that killed processes left behind. The caller must be the only writer of the file."""
    draft = re.compile(re.escape(file.name) + r"\.[0-9a-f]{32}")
    for left in file.parent.iterdir():
        if draft.fullmatch(left.name):
            left.unlink(missing_ok=True)


def existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def free_bytes(folder: Path) -> int:
    """Free bytes of the file system that holds a folder, or would hold it once it is made."""
    return shutil.disk_usage(existing(folder)).free


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Hold a lock among the processes of a machine; the system releases it when its holder ends, also if it crashes.

    Yields False on a file system without locks, as some network file systems: then work may be done twice.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab+") as handle:  # with "+", opening a pipe in its place does not block
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
