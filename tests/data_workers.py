"""The processes of data workers, for the tests of what starts and ends them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gga_sweep.datasets.workers import ImageReader, Workers
from gga_sweep.training.trainer import Trainer


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Until then; an error if it takes longer."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def started(reader: ImageReader) -> Workers:
    """The workers of a reader, once all of them can read."""
    workers = reader._workers
    assert workers is not None

    def are_ready() -> bool:
        workers.may_begin(0)
        return all(worker.is_ready for worker in workers._workers)

    wait_until(are_ready)
    return workers


def with_workers(trainer: Trainer) -> Trainer:
    """The trainer, once its workers can read."""
    started(trainer._reader)
    return trainer


def runs(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")
