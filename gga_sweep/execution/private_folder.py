"""Temporary folders of a launch. What a killed launch left, the next one on the same machine removes."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR

import msgspec

from gga_sweep.ledger.process import birth_of, exists

_PREFIX = "gga-"
_OWNER = ".owner"


class _Owner(msgspec.Struct):
    """The process that made a folder."""

    host: str
    pid: int
    birth: str


@contextmanager
def private_folder(place: str | None = None) -> Iterator[str]:
    """A folder that other users cannot read, removed after the block.

    Args:
        place: the folder above; None: the system's folder for temporary files.
    """
    place = place or tempfile.gettempdir()
    _remove_abandoned(Path(place))
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place, ignore_cleanup_errors=True) as folder:
        owner = _Owner(socket.gethostname(), os.getpid(), birth_of(os.getpid()) or "")
        Path(folder, _OWNER).write_bytes(msgspec.json.encode(owner))
        yield folder


def _remove_abandoned(place: Path) -> None:
    """Remove the folders of this user whose processes have ended on this machine, seen from here."""
    for folder in place.glob(f"{_PREFIX}*"):
        try:
            found = folder.lstat()
            if not S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            owner = msgspec.json.decode((folder / _OWNER).read_bytes(), type=_Owner)
        except (OSError, msgspec.DecodeError):  # no folder of ours
            continue
        if exists(owner.host, owner.pid, owner.birth) is False:
            shutil.rmtree(folder, ignore_errors=True)
