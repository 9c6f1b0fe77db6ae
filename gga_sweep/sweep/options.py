"""How a sweep is launched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How a sweep is launched; nothing here changes a number.

    Args:
        address: of an existing Ray cluster ("auto" finds one); None starts a local one.
        max_concurrent: runs at once; None: what the resources allow.
        require_tracking: refuse to start without the tracking server.
        allow_change: go on although the file changed under its name.
    """

    address: str | None = None
    max_concurrent: int | None = None
    require_tracking: bool = False
    allow_change: bool = False
