"""A ledger in memory that can be cut off in the middle of a run, and runs recorded into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from small_runs import CPU

from gga_sweep.config import RunConfig
from gga_sweep.domains import Dataset
from gga_sweep.ledger.recorded_run import RecordedRun, RecordingOptions
from gga_sweep.ledger.run_folder import DETERMINISTIC, RunFolder
from gga_sweep.ledger.store import FileStat, LedgerStore
from gga_sweep.records import RunStatus

KEY = "0123abcd" * 8
RUN = "small_erm_test-c_seed-0-0123abcd"


class Killed(BaseException):
    """The process is gone: no `except Exception` sees it, and nothing more is written."""


class MemoryStore:
    """A `LedgerStore` whose writer is killed in place of its write number `dies_at`, counted from 0."""

    parallel = 1

    def __init__(self, dies_at: int | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self._written: dict[str, int] = {}  # the number of the write
        self.dies_at = dies_at
        self.writes = 0

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def put_if_absent(self, path: str, content: bytes) -> bool:
        if path in self.files:
            self._count()
            return False
        self.replace(path, content)
        return True

    def replace(self, path: str, content: bytes) -> None:
        self._count()
        self.files[path] = content
        self._written[path] = self.writes

    def stats(self, folder: str) -> dict[str, FileStat]:
        start = folder + "/"
        return {
            path[len(start) :]: FileStat(str(self._written[path]), len(content))
            for path, content in self.files.items()
            if path.startswith(start)
        }

    def list(self, folder: str) -> list[str]:
        start = folder + "/"
        return sorted({path[len(start) :].split("/")[0] for path in self.files if path.startswith(start)})

    def delete(self, path: str) -> None:
        self._count()
        self.files.pop(path, None)

    def unfinished_writes(self, min_age: float = 0.0) -> dict[str, int]:
        return {}

    def _count(self) -> None:
        if self.writes == self.dies_at:
            raise Killed
        self.writes += 1


def open_small_run(
    store: LedgerStore,
    config: RunConfig,
    dataset: Dataset,
    from_checkpoint: bool = True,
    reason_to_stop: Callable[[], str | None] = lambda: None,
    **options: Any,
) -> RecordedRun:
    """As a new process opens it: nothing but the store is shared with whoever ran before."""
    recording = RecordingOptions(from_checkpoint, **options)
    return RecordedRun(RunFolder(store, RUN), KEY, config, dataset, CPU, recording, reason_to_stop)


def advance_to_the_end(run: RecordedRun, seconds: float = 1e9) -> RecordedRun:
    while run.progress.status is RunStatus.RUNNING:
        run.advance(seconds)
    return run


def kept_files(store: LedgerStore) -> dict[str, bytes | None]:
    """The deterministic files of the run, and how it ended."""
    folder = RunFolder(store, RUN)
    state = folder.read_state()
    names = (*DETERMINISTIC, "checkpoint")
    return {
        "state": f"{state.status} {state.step} {state.reason}".encode(),
        **{name: store.read(f"runs/{RUN}/{name}") for name in names},
    }
