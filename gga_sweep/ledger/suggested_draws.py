"""The draws that searchers suggested: one file for each cell, from which the plan is made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import msgspec

from gga_sweep.ledger.json_codec import dump
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import Cell, Scalar
from gga_sweep.spec.adaptive_search import Suggested

_FOLDER = "suggested"


@dataclass(frozen=True, slots=True)
class _OfCell:
    """The content of a file."""

    cell: Cell
    draws: Mapping[int, Mapping[str, Scalar]]


_OF_CELL = msgspec.json.Decoder(_OfCell)


def read_suggested(ledger: Ledger) -> Suggested:
    """By cell and draw number. A damaged file counts as absent: the same results give the same suggestions again."""
    suggested: dict[Cell, Mapping[int, Mapping[str, Scalar]]] = {}
    for name in ledger.store.list(_FOLDER):
        try:
            found = _OF_CELL.decode(ledger.store.read(f"{_FOLDER}/{name}") or b"")
        except (ValueError, RecursionError):
            continue
        suggested[found.cell] = found.draws
    return suggested


def keep_suggested(ledger: Ledger, cell: Cell, draws: Mapping[int, Mapping[str, Scalar]]) -> None:
    """Store all draws suggested for a cell so far, before any of them is trained. Requires the sweep's lease."""
    name = hashlib.blake2b(repr(astuple(cell)).encode(), digest_size=8).hexdigest()
    content = _OfCell(cell, {draw: draws[draw] for draw in sorted(draws)})
    ledger.store.replace(f"{_FOLDER}/{name}.json", dump(content).encode())
