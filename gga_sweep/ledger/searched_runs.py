"""Runs of a user's own searcher: they are in no plan, so the ledger stores where they stand in the sweep."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from gga_sweep.ledger.json_codec import dump
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunPlace
from gga_sweep.spec.plan import PlannedRun

SEARCHED = "searched"
"""The folder of a ledger with one file for each run of a searcher and arm."""


@dataclass(frozen=True, slots=True)
class SearchedRun:
    """A run that a user's own searcher chose: its folder in the ledger, and where it stands."""

    folder: str
    place: RunPlace


_DECODER = msgspec.json.Decoder(SearchedRun)


def keep_searched(ledger: Ledger, run: PlannedRun) -> None:
    """Store where a run stands, unless that is stored already."""
    searched = SearchedRun(run.folder, run.place)
    arm = hashlib.blake2b(run.cell.arm.encode(), digest_size=4).hexdigest()  # two arms may share a run
    ledger.store.put_if_absent(f"{SEARCHED}/{run.folder}-{arm}.json", dump(searched).encode())


def read_searched(ledger: Ledger) -> tuple[list[SearchedRun], int]:
    """All of them, and the number of damaged files."""
    runs, damaged = [], 0
    for name in ledger.store.list(SEARCHED):
        try:
            runs.append(parse_searched(ledger.store.read(f"{SEARCHED}/{name}")))
        except (ValueError, RecursionError):
            damaged += 1
    return runs, damaged


def parse_searched(content: bytes | None) -> SearchedRun:
    """The content of one of these files.

    Raises:
        ValueError: the file is damaged.
    """
    found = _DECODER.decode(content or b"")
    if not found.place.draws:
        raise ValueError("a run without a draw number")
    return found
