"""The index of finished runs: their results, in few files that are quick to read.

`index/` holds 64 files; a hash of a run's name gives its file. The index is derived from the runs' own files and may be
deleted at any time.

- An entry is current while none of the files it was made from has changed (`LedgerStore.stats`: on a file system inode,
  time and size). A run without a current entry is read from its folder, and added if it is final.
- The files of all runs are listed at once, before they are read and, if entries are added, after. Beyond that a run
  costs one request for each of its files.
- Entries of another version of the types in `records.py`, and damaged files, are not read.
- Files are replaced whole. If two processes add at once, the last wins, and a later reader adds the other's entries.
- In a storage with slow requests, one more file, `states`, holds only the states.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from typing import TypeVar

import msgspec

from gga_sweep.errors import StorageError
from gga_sweep.ledger.packed_records import (
    PackedRecords,
    PackedSteps,
    pack_records,
    pack_steps,
    unpack_noisy_steps,
    unpack_records,
    unpack_searches,
)
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_reader import RunFiles, files_of, result_stamp
from gga_sweep.ledger.store import LedgerStore, for_each
from gga_sweep.metrics import SELECTING
from gga_sweep.process_state import collection_paused
from gga_sweep.records import (
    FINAL,
    Agreement,
    AnnealedStep,
    Averaged,
    DomainScores,
    NoisyStep,
    Record,
    RunResult,
    RunState,
    Score,
    TestRecord,
    ValidationRecord,
)

_FILES = 64
_STATES = "index/states"


class IndexEntry(msgspec.Struct, array_like=True, frozen=True):
    """A finished run: its result without records and annealed steps, and these packed; the stamp is `result_stamp`."""

    stamp: str
    result: RunResult
    records: PackedRecords
    searches: PackedSteps
    noisy_steps: PackedSteps

    def unpack(self) -> RunResult:
        """The whole result. Its records and steps are decoded whenever they are read, which takes less memory."""
        return replace(
            self.result,
            records=unpack_records(self.records),
            searches=unpack_searches(self.searches),
            noisy_steps=unpack_noisy_steps(self.noisy_steps),
        )

    def is_of(self, result: RunResult) -> bool:
        """Whether the entry holds this result, with NaN equal to itself."""
        return _encode(self) == _encode(_entry(self.stamp, result))


class _FinalState(msgspec.Struct, array_like=True, frozen=True):
    """The state of a finished run; the stamp is that of its `status.json`."""

    stamp: str
    state: RunState


Kept = TypeVar("Kept", IndexEntry, _FinalState)

_encode = msgspec.msgpack.Encoder().encode


def _entry(stamp: str, result: RunResult) -> IndexEntry:
    return IndexEntry(
        stamp,
        replace(result, records=(), searches=(), noisy_steps=()),
        pack_records(result.records),
        pack_steps(result.searches),
        pack_steps(result.noisy_steps),
    )


def _format() -> bytes:
    """8 bytes that change with any type an entry is made of, and with the byte order of packed numbers."""
    types = (IndexEntry, _FinalState, PackedRecords, PackedSteps)
    of_records = (Record, ValidationRecord, TestRecord, DomainScores, Score, Agreement)
    recorded = (RunResult, RunState, *of_records, AnnealedStep, NoisyStep, Averaged)
    names = [[kind.__name__, *kind.__struct_fields__] for kind in types]
    names += [[kind.__name__, *(field.name for field in fields(kind))] for kind in recorded]
    return hashlib.blake2b(repr((sys.byteorder, SELECTING, names)).encode(), digest_size=8).digest()


_FORMAT = _format()
_ENTRIES = msgspec.msgpack.Decoder(dict[str, IndexEntry])
_FINAL_STATES = msgspec.msgpack.Decoder(dict[str, _FinalState])


def read_through(
    store: LedgerStore, names: Iterable[str], files: Mapping[str, RunFiles] | None = None
) -> dict[str, RunResult]:
    """The results of these runs, by name. Finished runs without a current entry are added to the index.

    Args:
        files: of these runs, as they were just listed; None lists them.
    """
    names = list(dict.fromkeys(names))
    with collection_paused():
        files = files_of(store, names) if files is None else files
        entries = _read_entries(store, names)
        results = _current_results(entries, names, files)
        unread = [name for name in names if name not in results]
        if added := _read_folders(store, unread, files, results):
            _add(store, entries, added, results)
    return results


def stream_entries(store: LedgerStore, names: Iterable[str]) -> Iterator[tuple[str, IndexEntry | None]]:
    """Each of these runs with its entry, current or not, or None. In the order of the index's files, which are read one
    after the other, so that few entries are in memory. Writes nothing.
    """
    by_file: dict[str, list[str]] = {}
    for name in names:
        by_file.setdefault(_file_of(name), []).append(name)
    for file, of_file in by_file.items():
        entries = _decoded(store, file, _ENTRIES)
        for name in of_file:
            yield name, entries.get(name)


def read_states_through(
    store: LedgerStore, names: Sequence[str], files: Mapping[str, RunFiles], read: Callable[[str], RunState]
) -> dict[str, RunState]:
    """The states of these runs, by name: those of finished runs from one file, the others by `read`.

    For storages with slow requests; on a disk it is as quick to read the runs.

    Args:
        files: of these runs, as they were just listed.
    """
    kept = _decoded(store, _STATES, _FINAL_STATES)
    stamps = {name: files[name]["status.json"].stamp for name in names if "status.json" in files.get(name, ())}
    states = {name: kept[name].state for name in stamps if name in kept and kept[name].stamp == stamps[name]}
    others = [name for name in stamps if name not in states]
    read_now = dict(zip(others, for_each(store, read, others), strict=True))  # after the stamps: at least as new
    added = {name: _FinalState(stamps[name], state) for name, state in read_now.items() if state.status in FINAL}
    if added:
        _write(store, _STATES, {**kept, **added})
    return {name: states.get(name) or read_now.get(name, RunState()) for name in names}


def _read_entries(store: LedgerStore, names: Iterable[str]) -> dict[str, IndexEntry]:
    """All entries of the files in which these runs stand, by name."""
    entries: dict[str, IndexEntry] = {}
    for of_file in for_each(store, partial(_decoded, store, decoder=_ENTRIES), dict.fromkeys(map(_file_of, names))):
        entries.update(of_file)
    return entries


def _current_results(
    entries: Mapping[str, IndexEntry], names: Iterable[str], files: Mapping[str, RunFiles]
) -> dict[str, RunResult]:
    return {name: entries[name].unpack() for name in names if _is_current(name, entries, files)}


def _read_folders(
    store: LedgerStore, names: Sequence[str], files: Mapping[str, RunFiles], results: dict[str, RunResult]
) -> dict[str, IndexEntry]:
    """Read runs from their folders into `results`; returns an entry for each that is final."""
    added = {}
    read = for_each(store, lambda name: RunFolder(store, name).read_result(files.get(name, {})), names)
    for name, result in zip(names, read, strict=True):
        results[name] = result
        if result.state.status in FINAL:
            with suppress(OverflowError):  # msgpack has no integer of more than 64 bits
                entry = _entry(result_stamp(files.get(name, {})), result)
                _encode(entry.result)
                added[name], results[name] = entry, entry.unpack()
    return added


def _add(
    store: LedgerStore, kept: Mapping[str, IndexEntry], added: Mapping[str, IndexEntry], results: dict[str, RunResult]
) -> None:
    """Write the new entries beside those kept, without entries whose run has changed meanwhile.

    A run that changed while it was read is read again into `results`, since it may have a file that was not listed.
    """
    entries = {**kept, **added}
    files = files_of(store, entries)
    by_file: dict[str, dict[str, IndexEntry]] = {}
    for name, entry in entries.items():
        if _is_current(name, entries, files):
            by_file.setdefault(_file_of(name), {})[name] = entry
        elif name in added:
            results[name] = RunFolder(store, name).read_result(files.get(name, {}))
    for file, of_file in by_file.items():
        if of_file.keys() & added.keys() and not _write(store, file, of_file):
            return


def _is_current(name: str, entries: Mapping[str, IndexEntry], files: Mapping[str, RunFiles]) -> bool:
    return name in entries and entries[name].stamp == result_stamp(files.get(name, {}))


def _file_of(name: str) -> str:
    return f"index/{zlib.crc32(name.encode()) % _FILES:02d}"


def _decoded(store: LedgerStore, file: str, decoder: msgspec.msgpack.Decoder[dict[str, Kept]]) -> dict[str, Kept]:
    """The entries of a file. Empty if it is missing, damaged or of another format.

    The checksum makes sure that records which are decoded later can be decoded.
    """
    content = memoryview(store.read(file) or b"")
    head = 8 + 4
    if content[:8] != _FORMAT or content[8:head] != _checksum(content[head:]):
        return {}
    return decoder.decode(content[head:])


def _write(store: LedgerStore, file: str, entries: Mapping[str, IndexEntry] | Mapping[str, _FinalState]) -> bool:
    """Write a file's entries; False if the storage refuses."""
    content = _encode(entries)
    try:
        store.replace(file, _FORMAT + _checksum(content) + content)
    except StorageError:
        return False
    return True


def _checksum(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(4, "big")
