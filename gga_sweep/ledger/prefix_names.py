"""The names of prefixes, by which runs share their first steps. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gga_sweep.ledger.store import LedgerStore

PREFIXES = "prefixes"
"""The folder of a ledger that holds them (`gga_sweep.execution.prefixes`)."""


@dataclass(frozen=True, slots=True)
class Branching:
    """The prefixes that a run may begin with, in place of step 0, and those that it writes for other runs.

    Args:
        start: names of prefixes of this run, the longest first.
        left: by number of steps, the name of the prefix that the run writes after so many steps.
    """

    start: tuple[str, ...] = ()
    left: Mapping[int, str] = field(default_factory=dict)


UNBRANCHED = Branching()


def delete_prefixes(store: LedgerStore, names: Iterable[str] | None = None) -> None:
    """Delete the prefixes of these names; None: all."""
    for name in store.list(PREFIXES) if names is None else names:
        store.delete(f"{PREFIXES}/{name}")
