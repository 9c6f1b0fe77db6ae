"""Results are the same through the index as from the runs' folders, whatever happened to either."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import struct
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_in_memory import MemoryStore
from record_strategies import annealed_steps, ascending, names, noisy_steps, records

from gga_sweep.errors import StorageError
from gga_sweep.ledger.json_codec import dump_lines
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.s3_store import S3LedgerStore
from gga_sweep.ledger.store import FileStat, LedgerStore, PosixStore
from gga_sweep.metrics import SELECTING
from gga_sweep.records import (
    FINAL,
    Agreement,
    AnnealedStep,
    AnnealingLine,
    Averaged,
    DomainScores,
    NoisyStep,
    Record,
    RunResult,
    RunStatus,
    Score,
    TestRecord,
    ValidationRecord,
)

histories = st.tuples(
    st.sampled_from(RunStatus),
    st.none() | names,
    ascending(records),
    ascending(annealed_steps) | ascending(noisy_steps),
    st.lists(st.dictionaries(st.sampled_from(["training", "search"]), st.floats(0, 1e6)), max_size=3),
)


def record(step: int, accuracy: float = 0.5) -> Record:
    scored = {"photo": DomainScores(Score(accuracy, 1.0), Score(accuracy, 2.0))}
    agreement = Agreement(((1.0,),), (1.0,), 0.25, math.nan)
    return Record(ValidationRecord(step, scored, 1.0, agreement, agreement), TestRecord(scored, {"photo": 0.5}))


def write_run(
    store: LedgerStore, name: str, accuracy: float = 0.5, status: RunStatus = RunStatus.DONE
) -> tuple[Record, ...]:
    """A new attempt, trained to this status."""
    folder = RunFolder(store, name)
    folder.claim({})
    folder.write_state(RunStatus.RUNNING, -1)
    folder.write_records([record(0, accuracy), record(5, accuracy)])
    folder.add_timing(5, {"training": 2.0})
    folder.write_state(status, 5)
    return record(0, accuracy), record(5, accuracy)


def ledger_on(store: LedgerStore) -> Ledger:
    return Ledger(Path("nowhere"), store)


def read(store: LedgerStore, *wanted: str) -> dict[str, RunResult]:
    return ledger_on(store).read_results(wanted)


def from_folder(store: LedgerStore, name: str) -> RunResult:
    """The result read from the run's folder, without the index."""
    return RunFolder(store, name).read_result()


def content_of(result: RunResult) -> tuple[Any, ...]:
    """All that a result holds, with NaN equal to itself."""
    kinds = [type(line) for line in result.annealed]
    lines = (dump_lines(result.records), dump_lines(result.annealed))
    return result.folder, result.state, *lines, kinds, dict(result.seconds)


def index_files(store: MemoryStore) -> list[str]:
    return [path for path in store.files if path.startswith("index/")]


class CountingStore(MemoryStore):
    """Counts the files of runs that are read."""

    reads = 0

    def read(self, path: str) -> bytes | None:
        self.reads += path.startswith("runs/")
        return super().read(path)


class FarStore(MemoryStore):
    """Records every request, as a store with slow requests."""

    parallel = 4

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def read(self, path: str) -> bytes | None:
        self.asked.append(path)
        return super().read(path)

    def stats(self, folder: str) -> dict[str, FileStat]:
        self.asked.append(f"list {folder}")
        return super().stats(folder)

    def list(self, folder: str) -> list[str]:
        self.asked.append(f"names in {folder}")
        return super().list(folder)

    def requests(self, look: Callable[[], object]) -> list[str]:
        """The requests that a function makes, sorted."""
        self.asked.clear()
        look()
        return sorted(self.asked)


class ReadOnlyStore(MemoryStore):
    """Refuses to write the index, and counts the attempts."""

    refused = 0

    def replace(self, path: str, content: bytes, writer: int | None = None) -> None:
        if path.startswith("index/"):
            self.refused += 1
            raise StorageError("the storage cannot write: Permission denied")
        super().replace(path, content, writer)


@settings(max_examples=25, deadline=None)
@given(st.lists(histories, max_size=3))
def test_results_are_the_same_through_the_index_as_from_the_folders(
    runs: list[tuple[RunStatus, str | None, list[Record], list[AnnealingLine], list[dict[str, float]]]],
) -> None:
    store = MemoryStore()
    for number, (status, reason, evaluated, annealed, seconds) in enumerate(runs):
        folder = RunFolder(store, f"run-{number}")
        folder.claim({})
        folder.write_records(evaluated)
        folder.write_annealed(annealed)
        for phases in seconds:
            folder.add_timing(1, phases)
        folder.write_state(status, 7, reason)
    wanted = [f"run-{number}" for number in range(len(runs) + 1)]  # the last was never started
    for _ in range(2):  # as the first reader, and through the index it leaves
        found = read(store, *wanted)
        assert list(map(content_of, (found[name] for name in wanted))) == [
            content_of(from_folder(store, name)) for name in wanted
        ]
    for name, (_, _, evaluated, _, _) in zip(wanted, runs, strict=False):
        accuracies = [one.validation.accuracy for one in evaluated]
        assert repr([one.validation.accuracy for one in found[name].records]) == repr(accuracies)
        for metric in SELECTING:
            means = [(one.step, one.validation.validation_mean(metric)) for one in evaluated]
            assert repr(found[name].validation_means(metric)) == repr(means)


def test_finished_run_is_read_from_its_folder_once() -> None:
    store = CountingStore()
    for status in RunStatus:
        write_run(store, status.value, status=status)
    read(store, *RunStatus)
    for status in RunStatus:
        store.reads = 0
        read(store, status)
        assert (store.reads == 0) is (status in FINAL)


def test_first_reader_requests_each_existing_file_once_and_lists_twice() -> None:
    """Once before it reads and once after, for any number of runs."""
    store = FarStore()
    names = [f"run-{number:02d}" for number in range(30)]
    for name in names:
        write_run(store, name, status=RunStatus.DONE if name < "run-20" else RunStatus.PREEMPTED)
    averaging = RunFolder(store, names[0])
    averaging.claim({})
    averaging.write_averaged(Averaged(0, 5, None, record(5)), b"")
    averaging.write_state(RunStatus.DONE, 5)
    plain = ("records.jsonl", "status.json", "timings.jsonl")
    files = [f"runs/{name}/{file}" for name in names for file in plain] + ["runs/run-00/averaged.jsonl"]
    first = store.requests(lambda: read(store, *names))
    index = [path for path in first if path.startswith("index/")]
    assert len(index) == len({*index}) > 1
    assert first == sorted([*index, *files, "list runs", "list runs"])
    of_others = [file for file in files if file.split("/")[1] >= "run-20"]
    assert store.requests(lambda: read(store, *names)) == sorted([*index, *of_others, "list runs"])
    listed = ledger_on(store).list_runs()
    assert store.requests(lambda: ledger_on(store).read_results(listed, listed)) == sorted([*index, *of_others])


def test_states_of_started_runs_are_requested_once_each_then_by_one_listing() -> None:
    store = FarStore()
    names = [f"run-{number:02d}" for number in range(12)]
    for name in names[:9]:
        write_run(store, name)
    RunFolder(store, names[9]).claim({})  # begun, without a state
    ledger, states = ledger_on(store), ["index/states", "list runs"]
    of_each = [f"runs/{name}/status.json" for name in names[:9]]
    assert store.requests(lambda: ledger.read_started_states(names)) == sorted([*states, *of_each])
    assert store.requests(lambda: ledger.read_started_states(names)) == states
    found = ledger.read_started_states(names)
    assert [state.status for state in found.values()] == [RunStatus.DONE] * 9 + [RunStatus.QUEUED]
    assert list(found) == names[:10]
    assert list(ledger.read_started_states(names[8:])) == names[8:10]  # too few to list all for


def test_file_written_after_the_listing_is_in_the_result() -> None:
    class Late(FarStore):
        """A run ends once it was listed."""

        def stats(self, folder: str) -> dict[str, FileStat]:
            found = super().stats(folder)
            if self.asked.count("list runs") == 1:
                timings_added(self)
            return found

    store = Late()
    names = ["run", *(f"run-{number}" for number in range(9))]
    for name in names:
        folder = RunFolder(store, name)
        folder.claim({})
        folder.write_records([record(0)])
        folder.write_state(RunStatus.DONE, 0)
    store.asked.clear()
    found = read(store, *names)
    assert dict(found["run"].seconds) == {"training": 9.0}
    assert content_of(read(store, "run")["run"]) == content_of(found["run"])


def test_runs_added_later_keep_earlier_entries() -> None:
    store = CountingStore()
    names = [f"run-{number}" for number in range(130)]  # two in some file
    for half in (names[:65], names[65:]):
        for name in half:
            write_run(store, name)
        read(store, *half)
    store.reads = 0
    assert read(store, *names).keys() == set(names)
    assert store.reads == 0
    assert 1 < len(index_files(store)) <= 64


def again(store: MemoryStore) -> None:
    write_run(store, "run", 0.75)


def diverged_again(store: MemoryStore) -> None:
    write_run(store, "run", status=RunStatus.DIVERGED)


def marked(store: MemoryStore) -> None:
    RunFolder(store, "run").mark(RunStatus.PREEMPTED, "its node was lost")


def claimed_and_running(store: MemoryStore) -> None:
    folder = RunFolder(store, "run")
    folder.claim({})
    folder.write_state(RunStatus.RUNNING, -1)


def trained_anew_from_nothing(store: MemoryStore) -> None:
    """The same attempt, state and step as before."""
    for path in [path for path in store.files if path.startswith("runs/")]:
        store.delete(path)
    write_run(store, "run", 0.75)


def records_replaced(store: MemoryStore) -> None:
    """As by a copy of the ledger that comes file by file."""
    store.replace("runs/run/records.jsonl", dump_lines([record(0)]))


def timings_added(store: MemoryStore) -> None:
    store.replace("runs/run/timings.jsonl", dump_lines([{"step": 5, "attempt": 1, "seconds": {"training": 9.0}}]))


def annealing_added(store: MemoryStore) -> None:
    store.replace("runs/run/annealing.jsonl", dump_lines([NoisyStep(1, 0.5, 1.0, 2.0, 3.0)]))


def deleted(store: MemoryStore) -> None:
    for path in [path for path in store.files if path.startswith("runs/")]:
        store.delete(path)


CHANGES = (
    again,
    diverged_again,
    marked,
    claimed_and_running,
    trained_anew_from_nothing,
    records_replaced,
    timings_added,
    annealing_added,
    deleted,
)


@pytest.mark.parametrize("change", CHANGES)
def test_changed_run_is_read_again(change: Callable[[MemoryStore], None]) -> None:
    store = MemoryStore()
    write_run(store, "run")
    before = content_of(read(store, "run")["run"])
    change(store)
    for _ in range(2):
        after = content_of(read(store, "run")["run"])
        assert after == content_of(from_folder(store, "run"))
        assert after != before


def test_run_written_while_it_is_read_is_not_indexed() -> None:
    class Overtaken(CountingStore):
        def read(self, path: str) -> bytes | None:
            content = super().read(path)
            if path == "runs/run/records.jsonl" and self.reads < 5:
                timings_added(self)
            return content

    store = Overtaken()
    write_run(store, "run")
    store.reads = 0
    read(store, "run")
    assert index_files(store) == []
    read(store, "run")
    assert len(index_files(store)) == 1


def truncated(content: bytes) -> bytes:
    return content[:-20]


def emptied(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    """One bit of an accuracy or a loss: still good msgpack."""
    place = content.index(struct.pack(">d", 0.5)) + 7
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def of_another_version(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


@pytest.mark.parametrize("damage", [truncated, emptied, flipped, of_another_version])
def test_damaged_index_is_ignored_and_replaced(damage: Callable[[bytes], bytes]) -> None:
    store = CountingStore()
    write_run(store, "run")
    expected = content_of(read(store, "run")["run"])
    [file] = index_files(store)
    whole = store.files[file]
    store.files[file] = damage(whole)
    assert store.files[file] != whole
    assert content_of(read(store, "run")["run"]) == expected
    assert store.files[file] == whole
    store.reads = 0
    read(store, "run")
    assert store.reads == 0


def test_entries_of_deleted_runs_are_removed() -> None:
    store = MemoryStore()
    names = [f"run-{number}" for number in range(200)]
    for name in names:
        write_run(store, name)
    read(store, *names)
    full = sum(len(store.files[file]) for file in index_files(store))
    for path in [path for path in store.files if path.startswith("runs/") and not path.startswith("runs/run-1/")]:
        store.delete(path)
    for number in range(200):
        write_run(store, f"new-{number}")
    read(store, *(f"new-{number}" for number in range(200)))
    assert sum(len(store.files[file]) for file in index_files(store)) < 1.1 * full


def test_read_only_storage_can_be_read() -> None:
    store = ReadOnlyStore()
    names = [f"run-{number}" for number in range(50)]
    for name in names:
        write_run(store, name)
    found = read(store, *names)
    assert [content_of(found[name]) for name in names] == [content_of(from_folder(store, name)) for name in names]
    assert store.refused == 1  # not once a file


def test_concurrent_readers_never_damage_the_index(tmp_path: Path) -> None:
    names = [f"run-{number}" for number in range(20)]
    store = PosixStore(tmp_path)
    for name in names:
        write_run(store, name)
    start = threading.Barrier(4)

    def reader(turn: int) -> list[tuple[Any, ...]]:
        start.wait()
        mine = names[turn * 5 :] + names[: turn * 5]
        return sorted(content_of(result) for result in Ledger(tmp_path).read_results(mine).values())

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(reader, range(4)))
    assert all(one == sorted(content_of(from_folder(store, name)) for name in names) for one in seen)
    assert [path.name for path in (tmp_path / "index").iterdir() if path.name.startswith(".")] == []


def test_file_written_again_has_another_stamp_within_a_clock_tick(tmp_path: Path) -> None:
    store = PosixStore(tmp_path)
    assert store.stats("a") == {}
    store.replace("a/b", b"one")
    first = store.stats("a")["b"]
    assert store.stats("a") == {"b": first}
    store.replace("a/b", b"two")
    assert store.stats("a")["b"].stamp != first.stamp
    assert store.stats("a/b") == {}


def through_the_index(*wanted: float) -> Sequence[Record]:
    store = MemoryStore()
    folder = RunFolder(store, "run")
    folder.claim({})
    folder.write_records([record(step, accuracy) for step, accuracy in enumerate(wanted)])
    folder.write_state(RunStatus.DONE, 1)
    return read(store, "run")["run"].records


def test_sequence_of_packed_records_behaves_as_a_tuple() -> None:
    plain = tuple(record(step, 0.25 * step) for step in range(3))
    mine = through_the_index(0.0, 0.25, 0.5)
    assert len(mine) == 3
    assert dump_lines(mine) == dump_lines(plain)
    assert repr(mine) == repr(plain)
    assert dump_lines(mine[1:]) == dump_lines(plain[1:])
    assert dump_lines([mine[-1], mine[1:][0]]) == dump_lines([plain[-1], plain[1]])
    for copied in (copy.copy(mine), copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert type(copied) is tuple
        assert dump_lines(copied) == dump_lines(plain)
    with pytest.raises(IndexError):
        mine[3]


def test_result_through_the_index_equals_one_from_the_folder() -> None:
    """Without NaN, which is not equal to itself."""
    scored = {"photo": DomainScores(Score(0.5, 1.0), Score(0.5, 2.0))}
    plain = Record(ValidationRecord(0, scored, 1.0, *[Agreement((), (), 0.0, 0.0)] * 2), TestRecord({}, {"photo": 0.5}))
    searched = AnnealedStep(0, 3, 1, None, *[0.5] * 10)
    for lines in ([searched], [NoisyStep(1, 0.5, 1.0, 2.0, 3.0)]):
        store = MemoryStore()
        folder = RunFolder(store, "run")
        folder.claim({})
        folder.write_records([plain])
        folder.write_annealed(lines)
        folder.write_state(RunStatus.DONE, 1)
        mine, again = read(store, "run")["run"], read(store, "run")["run"]
        assert mine == again == from_folder(store, "run")
        assert from_folder(store, "run") == mine
        assert mine.annealed[0] == lines[0]
        assert mine.records != [dataclasses.replace(plain, test=TestRecord({}, {}))]
        assert mine.records != 3
        assert mine != dataclasses.replace(from_folder(store, "run"), searches=(), noisy_steps=())


@pytest.mark.parametrize("number", [2**63, 2**64, 2**70])
def test_run_with_an_integer_that_is_too_large_for_the_index_is_read_from_its_folder(number: int) -> None:
    searched = AnnealedStep(0, number, 1, None, *[0.5] * 10)
    for evaluated, lines, last in (([record(number)], [], 1), ([record(0)], [searched], 1), ([record(0)], [], number)):
        store = MemoryStore()
        folder = RunFolder(store, "run")
        folder.claim({})
        folder.write_records(evaluated)
        folder.write_annealed(lines)
        folder.write_state(RunStatus.DONE, last)
        for _ in range(2):
            assert content_of(read(store, "run")["run"]) == content_of(from_folder(store, "run"))


class CountedBucket(S3LedgerStore):
    """Counts what is read."""

    def __init__(self, key: str) -> None:
        super().__init__("sweeps", key)
        self.reads: list[str] = []

    def read(self, path: str) -> bytes | None:
        self.reads.append(path)
        return super().read(path)


def test_in_a_bucket_states_of_finished_runs_are_read_from_one_file(s3: None) -> None:
    store = CountedBucket(uuid.uuid4().hex)
    ledger = Ledger("s3://sweeps/whatever", store)
    names = [f"run-{number}" for number in range(12)]
    for name in names:
        write_run(store, name)
    ledger.run(names[0]).mark(RunStatus.PREEMPTED, "not final")
    expected = {name: ledger.run(name).read_state() for name in names}

    def look() -> list[str]:
        store.reads.clear()
        assert ledger.read_states(names) == expected
        return sorted(store.reads)

    assert look() == sorted(["index/states", *(f"runs/{name}/status.json" for name in names)])
    assert look() == ["index/states", "runs/run-0/status.json"]
    ledger.run(names[1]).mark(RunStatus.FAILED, "put back")
    expected[names[1]] = ledger.run(names[1]).read_state()
    assert look() == ["index/states", "runs/run-0/status.json", "runs/run-1/status.json"]
    store.replace("index/states", b"damaged")
    assert len(look()) == 13
    assert [name for name in store.list("index") if name != "states"] == []
