"""What was done for the runs of a ledger, counted."""

from __future__ import annotations

from dataclasses import dataclass, field

Place = tuple[str, str]
"""Of a run: its arm and its key. Of a summary: its arm and its test domains."""


@dataclass(slots=True)
class Tally:
    """What became of the runs' children, over several projections of one ledger.

    Args:
        new: those that had to be made.
        changed: those that lacked anything, the new ones included.
        points: of metrics, sent.
    """

    new: set[Place] = field(default_factory=set)
    changed: set[Place] = field(default_factory=set)
    points: int = 0
