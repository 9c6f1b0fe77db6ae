"""The draws that searchers suggested: one file for each cell, from which the plan is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, replace

import msgspec

from gga_sweep.errors import Fault, InputError
from gga_sweep.ledger.json_codec import dump
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import Cell, Scalar
from gga_sweep.spec.adaptive_search import Suggested, is_adaptive
from gga_sweep.spec.models import SweepConfig
from gga_sweep.spec.samplers import Searcher, searcher_of

_FOLDER = "suggested"


@dataclass(frozen=True, slots=True)
class _OfCell:
    """The content of a file. Its draws are of one searcher."""

    cell: Cell
    searcher: Searcher
    draws: Mapping[int, Mapping[str, Scalar]]


_OF_CELL = msgspec.json.Decoder(_OfCell)


def read_suggested(ledger: Ledger) -> Suggested:
    """By cell and draw number. A damaged file counts as absent: the same results give the same suggestions again."""
    return {found.cell: found.draws for found in _read(ledger)}


def read_searchers(ledger: Ledger) -> tuple[Searcher, ...]:
    """The searchers of the draws that were suggested: one, as `check_searcher` requires."""
    return tuple({str(found.searcher): found.searcher for found in _read(ledger)}.values())


def check_searcher(ledger: Ledger, config: SweepConfig) -> None:
    """Check that the next suggestions are of the searcher that made the earlier ones.

    Raises:
        InputError: they would mix within a cell.
    """
    if not is_adaptive(config):
        return
    present = searcher_of(config)
    for before in read_searchers(ledger):
        if before != present:
            rule = f"the draws so far were suggested by {before}, and others would be suggested by {{}}: {{}}"
            remedy = "give the sweep a new name"
            if replace(before, optuna=present.optuna) == present:
                remedy = f"install optuna=={before.optuna}, or {remedy}"
            raise InputError([Fault("search", rule.format(present, remedy))])


def keep_suggested(ledger: Ledger, cell: Cell, draws: Mapping[int, Mapping[str, Scalar]], searcher: Searcher) -> None:
    """Store all draws suggested for a cell so far, before any of them is trained. Requires the sweep's lease."""
    name = hashlib.blake2b(repr(astuple(cell)).encode(), digest_size=8).hexdigest()
    content = _OfCell(cell, searcher, {draw: draws[draw] for draw in sorted(draws)})
    ledger.store.replace(f"{_FOLDER}/{name}.json", dump(content).encode())


def _read(ledger: Ledger) -> Iterator[_OfCell]:
    for name in ledger.store.list(_FOLDER):
        with suppress(ValueError, RecursionError):
            yield _OF_CELL.decode(ledger.store.read(f"{_FOLDER}/{name}") or b"")
