"""A disk that fills up while a run is written: a clear error, and no file is lost.

Where no disk can be mounted, a store that refuses to write takes its place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledger_in_memory import MemoryStore
from small_disk import leave, make_room, mounted
from small_ledger import advance_to_the_end, kept_files, open_small_run
from small_runs import annealing_of, make_dataset, run_config

from gga_sweep.errors import StorageError
from gga_sweep.execution import recorded_run
from gga_sweep.ledger.store import LedgerStore, PosixStore
from gga_sweep.records import RunStatus

DATASET = make_dataset()
CONFIG = run_config(annealing_of(num_steps=1, num_candidates=1), steps=6, evaluate_every=2)


@pytest.fixture(autouse=True)
def checkpoints_at_each_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the number of writes does not depend on the clock."""
    monkeypatch.setattr(recorded_run, "CHECKPOINT_SHARE", 1e9)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path, 256) as disk:
        yield disk


def whole() -> dict[str, bytes | None]:
    store = MemoryStore()
    advance_to_the_end(open_small_run(store, CONFIG, DATASET))
    return kept_files(store)


def test_disk_that_fills_up_anywhere_in_a_run_changes_no_bit(small_disk: Path) -> None:
    expected, refusals = whole(), []
    for kib in range(4, 100, 8):
        store = PosixStore(small_disk / f"ledger-{kib}")
        leave(small_disk, kib)
        try:
            advance_to_the_end(open_small_run(store, CONFIG, DATASET), seconds=0)
        except StorageError as error:
            refusals.append(str(error))
        make_room(small_disk)
        assert store.unfinished_writes() == {}
        advance_to_the_end(open_small_run(store, CONFIG, DATASET))
        assert kept_files(store) == expected
        shutil.rmtree(store.root)
    assert len(refusals) > 3
    assert all(str(small_disk) in words and "No space left on device" in words for words in refusals)


class RefusingStore(MemoryStore):
    """Refuses its write number `full_at` and every later one."""

    full_at: int | None = None

    def replace(self, path: str, content: bytes, writer: int | None = None) -> None:
        if self.full_at is not None and self.writes >= self.full_at:
            raise StorageError("the storage cannot write: No space left on device")
        super().replace(path, content, writer)


def count_writes(train: Callable[[LedgerStore], object]) -> int:
    store = MemoryStore()
    train(store)
    return store.writes


def test_refused_write_anywhere_in_a_run_changes_no_bit() -> None:
    def train(store: LedgerStore) -> None:
        run = advance_to_the_end(open_small_run(store, CONFIG, DATASET), seconds=0)
        assert run.progress.status is RunStatus.DONE

    expected = whole()
    for full_at in range(count_writes(train) - 1):  # the last is a deletion
        store = RefusingStore()
        store.full_at = full_at
        with pytest.raises(StorageError, match="No space left"):
            train(store)
        store.full_at = None
        advance_to_the_end(open_small_run(store, CONFIG, DATASET))
        assert kept_files(store) == expected
