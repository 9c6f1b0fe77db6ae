"""Counts of what was written into MLflow."""

from __future__ import annotations

from dataclasses import dataclass, field

Place = tuple[str, str]
"""Identifies a run by arm and key, a summary by arm and test domains."""


@dataclass(slots=True)
class Changes:
    """What a projector wrote since it began.

    Args:
        found: runs that MLflow already showed.
        written: runs of which anything was written.
        points: metric values sent.
    """

    found: set[Place] = field(default_factory=set)
    written: set[Place] = field(default_factory=set)
    points: int = 0
