"""What searchers suggested, as the ledger keeps it: one file a cell. The plan is made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import astuple

import msgspec

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.lines import dump
from gga_sweep.records import Cell, Scalar
from gga_sweep.spec.adaptive import Suggested

_FOLDER = "suggested"


class _OfCell(msgspec.Struct):
    """As it stands in the file."""

    dataset: str
    arm: str
    test_domains: tuple[str, ...]
    trial_seed: int
    draws: dict[int, dict[str, bool | int | float | str]]


_OF_CELL = msgspec.json.Decoder(_OfCell)


def read_suggested(ledger: Ledger) -> Suggested:
    """By cell and draw number. A damaged file counts as absent: the same results give the same suggestions again."""
    suggested: dict[Cell, Mapping[int, Mapping[str, Scalar]]] = {}
    for name in ledger.store.list(_FOLDER):
        try:
            found = _OF_CELL.decode(ledger.store.read(f"{_FOLDER}/{name}") or b"")
        except (ValueError, RecursionError):
            continue
        suggested[Cell(found.dataset, found.arm, found.test_domains, found.trial_seed)] = found.draws
    return suggested


def keep_suggested(ledger: Ledger, cell: Cell, draws: Mapping[int, Mapping[str, Scalar]]) -> None:
    """All that was suggested for a cell so far, before any of it is trained. Only who holds the sweep may."""
    name = hashlib.blake2b(repr(astuple(cell)).encode(), digest_size=8).hexdigest()
    content = {
        "dataset": cell.dataset,
        "arm": cell.arm,
        "test_domains": cell.test_domains,
        "trial_seed": cell.trial_seed,
        "draws": {draw: draws[draw] for draw in sorted(draws)},
    }
    ledger.store.replace(f"{_FOLDER}/{name}.json", dump(content).encode())
