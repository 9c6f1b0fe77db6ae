"""Where runs that share their first steps begin, and what they leave for each other, by name. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gga_sweep.ledger.store import LedgerStore

PREFIXES = "prefixes"
"""The folder of a ledger that holds them (`gga_sweep.execution.prefixes`)."""


@dataclass(frozen=True, slots=True)
class Branching:
    """Where a run may begin in place of step 0, and what it leaves for others.

    Args:
        start: names of prefixes of this run, the longest first.
        left: by number of steps, the name of the prefix that it leaves after so many.
    """

    start: tuple[str, ...] = ()
    left: Mapping[int, str] = field(default_factory=dict)


UNBRANCHED = Branching()


def delete_prefixes(store: LedgerStore, names: Iterable[str] | None = None) -> None:
    """Those of these names; None: all that there are."""
    for name in store.list(PREFIXES) if names is None else names:
        store.delete(f"{PREFIXES}/{name}")
