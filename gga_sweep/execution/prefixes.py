"""Prefixes: the state of a run after its first steps, for other runs whose first steps are the same.

`prefixes/` holds one file for each, under the name that `scheduling.shared_steps` gives it. The first run that has done
these steps writes it: the trainer's state, the records up to there, and the selected weights. It may be deleted at any
time: a run whose prefix is gone trains those steps itself, to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gga_sweep.errors import first_line
from gga_sweep.ledger.json_codec import dump_lines, parse_annealed, parse_records
from gga_sweep.ledger.prefix_names import PREFIXES
from gga_sweep.ledger.store import LedgerStore
from gga_sweep.records import AnnealingLine, Record
from gga_sweep.training.checkpoint import dump_state, parse_state


@dataclass(frozen=True, slots=True)
class Prefix:
    """A run after its first steps.

    Args:
        training: the trainer's state.
        records, annealed: of these steps.
        selected: the selected weights so far, as the run's file has them; None before the first evaluation that counts.
        environment: in which it was trained, all of it.
        seconds: device seconds that it took, by phase.
    """

    training: Mapping[str, Any]
    records: tuple[Record, ...]
    annealed: tuple[AnnealingLine, ...]
    selected: bytes | None
    environment: Mapping[str, str]
    seconds: Mapping[str, float]


def read_prefix(store: LedgerStore, name: str) -> Prefix | None:
    """None if there is no such prefix.

    Raises:
        Exception: whatever a damaged file leads to.
    """
    content = store.read(f"{PREFIXES}/{name}")
    return None if content is None else _parsed(content)


def leave_prefix(store: LedgerStore, name: str, prefix: Prefix) -> None:
    """Write a prefix, unless it exists.

    Raises:
        ValueError: it cannot be read back: an algorithm's state holds more than tensors and plain data.
        StorageError: it cannot be written.
    """
    selected = None if prefix.selected is None else torch.frombuffer(bytearray(prefix.selected), dtype=torch.uint8)
    content = dump_state(
        {
            "training": prefix.training,
            "records": dump_lines(prefix.records).decode(),
            "annealed": dump_lines(prefix.annealed).decode(),
            "selected": selected,
            "environment": dict(prefix.environment),
            "seconds": dict(prefix.seconds),
        }
    )
    try:
        _parsed(content)
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {first_line(error)}") from error
    store.put_if_absent(f"{PREFIXES}/{name}", content)


def _parsed(content: bytes) -> Prefix:
    state = parse_state(content)
    selected = state["selected"]
    return Prefix(
        training=state["training"],
        records=parse_records(state["records"].encode()),
        annealed=parse_annealed(state["annealed"].encode()),
        selected=None if selected is None else selected.numpy().tobytes(),
        environment=state["environment"],
        seconds=state["seconds"],
    )
