"""Runs recorded into a ledger, and what they left there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from small_runs import CPU

from gga_sweep.datasets import Dataset
from gga_sweep.execution.recorded_run import RecordedRun, RecordingOptions
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_reader import DETERMINISTIC
from gga_sweep.ledger.store import LedgerStore
from gga_sweep.records import RunStatus
from gga_sweep.spec.models import RunSpec

KEY = "0123abcd" * 8
RUN = "small_erm_test-c_seed-0-0123abcd"


def open_small_run(
    store: LedgerStore,
    config: RunSpec,
    dataset: Dataset,
    from_checkpoint: bool = True,
    reason_to_stop: Callable[[], str | None] = lambda: None,
    workers: int = 0,
    **options: Any,
) -> RecordedRun:
    """As a new process opens it: it shares only the store with earlier processes."""
    recording = RecordingOptions(from_checkpoint, **options)
    return RecordedRun.open(
        RunFolder(store, RUN), KEY, config, dataset, CPU, recording, reason_to_stop, workers=workers
    )


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
