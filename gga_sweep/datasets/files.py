"""File system helpers: work on many files at once, write files atomically, lock among processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import logging
import os
import pwd
import re
import shutil
import socket
import stat
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gga_sweep.errors import Fault, InputError

logger = logging.getLogger(__name__)

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

MAX_PIXELS_VARIABLE = "GGA_SWEEP_MAX_PIXELS"
_MOST_PIXELS = 89_478_485  # Pillow prints a warning above it
_SILENT_SECONDS = 10.0  # of waiting for a lock
_PATIENCE = 600.0  # seconds without a write beside a lock, after which its holder counts as stuck


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
        raise OSError(errno.EINVAL, "not a regular file", str(file))
    return status


def most_pixels() -> int:
    """The largest number of pixels of an image: `GGA_SWEEP_MAX_PIXELS` in the environment, or 89,478,485.

    Raises:
        InputError: the variable is not a positive whole number.
    """
    given = os.environ.get(MAX_PIXELS_VARIABLE)
    if given is None:
        return _MOST_PIXELS
    if not given.isdecimal() or int(given) == 0:
        raise InputError([Fault(MAX_PIXELS_VARIABLE, "must be a positive whole number", given)])
    return int(given)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or a by-product of an archiver, such as `._photo.jpg` and `__MACOSX`."""
    return name.startswith(".") or name == "__MACOSX"


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


def make_private(folder: Path) -> None:
    """Create a folder, and its parent, for this user alone.

    Raises:
        PermissionError: another user owns one of them, or could alter what is in it.
        OSError: it cannot be created.
    """
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for place, trusted in ((folder.parent, {os.geteuid(), 0}), (folder, {os.geteuid()})):
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
        status = place.stat()
        if status.st_uid not in trusted:
            raise PermissionError(errno.EPERM, f"user {_user_name(status.st_uid)} owns it", str(place))
        if status.st_mode & 0o022 and not (place == folder.parent and status.st_mode & stat.S_ISVTX):
            raise PermissionError(errno.EPERM, f"other users can write to it: `chmod go-w {place}`", str(place))


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Hold a lock among the processes of a machine; the system releases it when its holder ends, also if it crashes.

    Yields False on a file system without locks, as some network file systems: then work may be done twice.

    Raises:
        OSError: another process holds the lock, and nothing was written in its folder for ten minutes.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # opening a pipe does not block either
    with os.fdopen(descriptor, "r+b", buffering=0) as handle:
        locked = _wait_for(handle, lock)
        if locked:
            with contextlib.suppress(OSError):  # it only says who to ask
                handle.truncate(0)
                handle.write(f"process {os.getpid()} of {_user_name(os.geteuid())} on {socket.gethostname()}".encode())
        yield locked


def _wait_for(handle: io.FileIO, lock: Path) -> bool:
    """Whether the lock is held now; False on a file system without locks."""
    began = changed = time.monotonic()
    newest, logged = 0, False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        except OSError:
            return False
        else:
            return True
        now = time.monotonic()
        if (latest := _last_write(lock.parent)) != newest:
            newest, changed = latest, now
        if now - changed > _PATIENCE:
            why = f"{_holder(handle)} holds {lock} and wrote nothing for {_PATIENCE:.0f} s: end it, then try again"
            raise OSError(errno.EBUSY, why, str(lock))
        if now - began > _SILENT_SECONDS and not logged:
            logger.warning("waiting for %s, which holds %s", _holder(handle), lock)
            logged = True
        time.sleep(0.05)


def _last_write(folder: Path) -> int:
    latest = 0
    for file in folder.iterdir():
        with contextlib.suppress(OSError):  # it was removed meanwhile
            latest = max(latest, file.stat().st_mtime_ns)
    return latest


def _holder(handle: io.FileIO) -> str:
    return os.pread(handle.fileno(), 200, 0).decode(errors="replace") or "another process"
