"""Whether a process still exists, although its id may have been given to another one since."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


def birth_of(pid: int) -> str | None:
    """The boot, the namespace and the tick in which a process of this machine started.

    Returns:
        None if there is no such process, or it is a zombie; "" where the system does not show its start.
    """
    if pid <= 0:  # those name groups
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the latter of an id that was damaged
        return None
    except PermissionError:
        pass  # of another user
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] == "Z" else f"{_machine()}/{fields[19]}"


def exists(host: str, pid: int, birth: str) -> bool | None:
    """Whether a process exists; None if it is of another machine, of an earlier boot, or of another container.

    Args:
        host, pid, birth: `socket.gethostname`, `os.getpid` and `birth_of` in that process; an empty birth matches any.
    """
    if host != socket.gethostname() or (birth and birth.rpartition("/")[0] != _machine()):
        return None
    now = birth_of(pid)
    return now is not None and (not birth or not now or now == birth)


@cache
def _machine() -> str:
    """Differs between machines of one name, and between containers on one of them. Empty where it is not shown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return ""
