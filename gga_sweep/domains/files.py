"""What the datasets ask of the file system: many files at once, whole files, one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Told (what is being done, how many are done, how many there are) as work goes on, by one thread."""

THREADS = min(8, os.cpu_count() or 1)
_TASK = 16  # paths: the pool's own cost is then small, even for a function that only asks for a file's size
_WINDOW = 4 * THREADS * _TASK  # paths under way: a pool queues all it is given, and results must not pile up unread


def for_each(function: Callable[[str], Result], paths: Sequence[str]) -> Iterator[Result]:
    """`function` of every path, in the order of `paths`, worked out by a few threads."""

    def work(task: Sequence[str]) -> list[Result]:
        return [function(path) for path in task]

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(paths), _WINDOW):
            window = paths[start : start + _WINDOW]
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


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock among the processes of a machine; the system releases it when its holder ends, however it ends."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        with contextlib.suppress(OSError):  # some network file systems lock nothing: then work is merely done twice
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
