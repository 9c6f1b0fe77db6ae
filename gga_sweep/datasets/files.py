"""What the datasets ask of the file system: many files at once, whole files, one writer at a time."""

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
"""Told (what is being done, how many are done, how many there are) as work goes on, by one thread."""

THREADS = min(8, os.cpu_count() or 1)
LONGEST_NAME = 200  # bytes: file systems take 255, and a cache adds to a domain's name
_SHOWN = 5  # names in a fault
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, undecodable bytes, ends of lines
_TASK = 16  # items: the pool's own cost is then small, even for a function that only asks for a file's size
_WINDOW = 4 * THREADS * _TASK  # items under way: a pool queues all it is given, and results must not pile up unread


def expanded(path: Path, field: str) -> Path:
    """The path with `~` and `~user` replaced; InputError at a user without a home."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError([Fault(field, "must begin with no home but an existing user's", str(path))]) from error


def is_folder(path: Path) -> bool:
    """Whether it can be seen to be one; false too of a name that is too long or in a folder that may not be entered."""
    try:
        return path.is_dir()
    except OSError:
        return False


def status_of(file: Path) -> os.stat_result:
    """Of a regular file; OSError of any other, for to open a pipe is to wait."""
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
    """What is wrong with paths whose names are not plain, in one fault; none without such a path."""
    rule = f"names of folders and images must be text in UTF-8, in one line, of at most {LONGEST_NAME} bytes"
    return [Fault(field, rule, shown(paths))] if paths else []


def shown(names: Sequence[str]) -> list[str]:
    """The first few of many names, and how many more there are."""
    more = len(names) - _SHOWN
    return [*names[:_SHOWN], f"and {more} more"] if more > 0 else list(names)


def for_each(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`function` of every item, in their order, worked out by a few threads."""

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
    """A draft beside `file` that takes its place if the block succeeds: whoever finds `file` finds it whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        yield draft
        with draft.open("rb") as written:
            os.fsync(written.fileno())  # else a power cut may leave the name without the content
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def drop_drafts(file: Path) -> None:
    """Delete what a `whole` of this file left whose process was killed. Only for who is alone in writing it."""
    draft = re.compile(re.escape(file.name) + r"\.[0-9a-f]{32}")
    for left in file.parent.iterdir():
        if draft.fullmatch(left.name):
            left.unlink(missing_ok=True)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def free_bytes(folder: Path) -> int:
    """Of the file system on which a folder lies, or would lie if it were made."""
    return shutil.disk_usage(existing(folder)).free


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Hold a lock among the processes of a machine; the system releases it when its holder ends, however it ends.

    Gives False on a file system that locks nothing, as some of networks: then work is merely done twice.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab+") as handle:  # to read as well: of a pipe in its place it would wait for a reader
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
