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

import gc
import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import TypeVar

import msgspec

from gga_sweep.errors import StorageError
from gga_sweep.ledger.packed import PackedRecords, pack, unpack
from gga_sweep.ledger.run_folder import RunFolder
from gga_sweep.ledger.run_reader import RunFiles, files_of, result_stamp
from gga_sweep.ledger.store import LedgerStore, for_each
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


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    """A finished run: its result without records, and these packed."""

    stamp: str
    result: RunResult
    records: PackedRecords

    def unpack(self) -> RunResult:
        """The whole result. Its records are decoded at their first use, which takes less memory."""
        return replace(self.result, records=unpack(self.records))


class _FinalState(msgspec.Struct, array_like=True, frozen=True):
    """The state of a finished run; the stamp is that of its `status.json`."""

    stamp: str
    state: RunState


Kept = TypeVar("Kept", _Entry, _FinalState)


def _format() -> bytes:
    """8 bytes that change with any type an entry is made of."""
    types = (_Entry, _FinalState, PackedRecords)
    of_records = (Record, ValidationRecord, TestRecord, DomainScores, Score, Agreement)
    recorded = (RunResult, RunState, *of_records, AnnealedStep, NoisyStep, Averaged)
    names = [[kind.__name__, *kind.__struct_fields__] for kind in types]
    names += [[kind.__name__, *(field.name for field in fields(kind))] for kind in recorded]
    return hashlib.blake2b(repr(names).encode(), digest_size=8).digest()


_FORMAT = _format()
_ENTRIES = msgspec.msgpack.Decoder(dict[str, _Entry])
_FINAL_STATES = msgspec.msgpack.Decoder(dict[str, _FinalState])


def read_through(
    store: LedgerStore, names: Iterable[str], files: Mapping[str, RunFiles] | None = None
) -> dict[str, RunResult]:
    """The results of these runs, by name. Finished runs without a current entry are added to the index.

    Args:
        files: of these runs, as they were just listed; None lists them.
    """
    members = _by_file(names)
    results: dict[str, RunResult] = {}
    lacking: dict[str, dict[str, _Entry]] = {}
    with _no_collection():
        files = _listed(store, members) if files is None else files
        for (file, wanted), entries in zip(members.items(), _read_files(store, members), strict=True):
            results.update((name, entries[name].unpack()) for name in wanted if _is_current(name, entries, files))
            if any(name not in results for name in wanted):
                lacking[file] = entries
        unread = [name for file in lacking for name in members[file] if name not in results]
        if added := _read_folders(store, unread, files, results):
            _add(store, added, lacking, results)
    return results


def read_indexed(store: LedgerStore, names: Iterable[str]) -> dict[str, RunResult]:
    """The current entries of these runs, by name. Writes nothing."""
    members = _by_file(names)
    results = {}
    with _no_collection():
        files = _listed(store, members)
        for wanted, entries in zip(members.values(), _read_files(store, members), strict=True):
            current = [name for name in wanted if _is_current(name, entries, files)]
            results.update({name: entries[name].unpack() for name in current})
    return results


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


def _listed(store: LedgerStore, members: Mapping[str, Sequence[str]]) -> Mapping[str, RunFiles]:
    return files_of(store, [name for wanted in members.values() for name in wanted])


def _read_folders(
    store: LedgerStore, names: Iterable[str], files: Mapping[str, RunFiles], results: dict[str, RunResult]
) -> dict[str, _Entry]:
    """Read runs from their folders into `results`; returns an entry for each that is final."""

    def read(name: str) -> tuple[RunResult, _Entry | None]:
        found = files.get(name, {})
        result = RunFolder(store, name).read_result(found)
        return result, _entry(result_stamp(found), result) if result.state.status in FINAL else None

    added = {}
    names = list(names)
    for name, (result, entry) in zip(names, for_each(store, read, names), strict=True):
        results[name] = result if entry is None else entry.unpack()
        if entry is not None:
            added[name] = entry
    return added


def _add(
    store: LedgerStore,
    added: Mapping[str, _Entry],
    kept: Mapping[str, Mapping[str, _Entry]],
    results: dict[str, RunResult],
) -> None:
    """Write the new entries beside those kept, by file, without entries whose run has changed meanwhile.

    A run that changed while it was read is read again into `results`, since it may have a file that was not listed.
    """
    entries = {file: {**kept[file], **of_file} for file, of_file in _in_files(added).items()}
    files = files_of(store, [name for of_file in entries.values() for name in of_file])
    overtaken = [name for name in added if not _is_current(name, added, files)]
    results.update((name, RunFolder(store, name).read_result(files.get(name, {}))) for name in overtaken)
    for file, of_file in entries.items():
        current = {name: entry for name, entry in of_file.items() if _is_current(name, of_file, files)}
        if current.keys() & added.keys() and not _write(store, file, current):
            return


def _in_files(entries: Mapping[str, _Entry]) -> dict[str, dict[str, _Entry]]:
    return {file: {name: entries[name] for name in names} for file, names in _by_file(entries).items()}


def _entry(stamp: str, result: RunResult) -> _Entry:
    return _Entry(stamp, replace(result, records=()), pack(result.records))


def _is_current(name: str, entries: Mapping[str, _Entry], files: Mapping[str, RunFiles]) -> bool:
    return name in entries and entries[name].stamp == result_stamp(files.get(name, {}))


def _by_file(names: Iterable[str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(_file_of(name), []).append(name)
    return members


def _file_of(name: str) -> str:
    return f"index/{zlib.crc32(name.encode()) % _FILES:02d}"


def _read_files(store: LedgerStore, files: Iterable[str]) -> Iterator[dict[str, _Entry]]:
    return for_each(store, partial(_read, store), files)


def _read(store: LedgerStore, file: str) -> dict[str, _Entry]:
    """The checksum makes sure that records which are decoded later can be decoded."""
    return _decoded(store, file, _ENTRIES)


def _decoded(store: LedgerStore, file: str, decoder: msgspec.msgpack.Decoder[dict[str, Kept]]) -> dict[str, Kept]:
    """The entries of a file, after its format and checksum. Empty if it is missing, damaged or of another format."""
    content = memoryview(store.read(file) or b"")
    head = 8 + 4
    if content[:8] != _FORMAT or content[8:head] != _checksum(content[head:]):
        return {}
    return decoder.decode(content[head:])


def _write(store: LedgerStore, file: str, entries: Mapping[str, _Entry | _FinalState]) -> bool:
    """Whether it could be written."""
    content = msgspec.msgpack.encode(entries)
    try:
        store.replace(file, _FORMAT + _checksum(content) + content)
    except StorageError:
        return False
    return True


def _checksum(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(4, "big")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Switch garbage collection off: it would scan all that was read, again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
