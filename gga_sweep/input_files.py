"""Read files that other programs or people wrote: regular files only, up to a bounded size."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(file: str | Path) -> BufferedReader:
    """A regular file, opened for reading. Never blocks on a pipe.

    Raises:
        OSError: the file cannot be opened, or is a pipe, a device or a folder.
    """
    opened = open(file, "rb", opener=_without_blocking)  # noqa: SIM115
    if stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        return opened
    opened.close()
    raise OSError(errno.EINVAL, "not a regular file", str(file))


def _without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def read_regular(file: str | Path, at_most: int) -> bytes:
    """The content of a regular file.

    Args:
        at_most: the largest size in bytes.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        if size > at_most:
            raise OSError(errno.EFBIG, f"larger than {at_most:,} bytes", str(file))
        return opened.read(size)  # not to the end: a file may grow meanwhile, and some of /proc have none
