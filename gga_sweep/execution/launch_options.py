"""How a sweep is launched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the command line reads the options' names and defaults before it loads anything
    from gga_sweep.ledger.run_folder import Kept

OnError = Literal["continue", "stop"]


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How a sweep is launched; nothing here changes a number.

    Args:
        address: of an existing Ray cluster ("auto" finds one); None starts a local one.
        max_concurrent: runs at once; None: as many as fit.
        require_tracking: refuse to start without the tracking server.
        allow_change: continue although the sweep file, its images or its own code changed under its name.
        take_over: stop another live launch of the sweep, and continue in its place.
        on_error: whether a failed run stops the launch; the next launch continues the runs in training.
        keep_checkpoints: what a final run keeps: no weights, the weights of its best validation step, or its last
            checkpoint too.
        strict_environment: a run fails, instead of resuming, if its checkpoint was written in another environment.
        unshared: train each run from step 0, also the steps that it has in common with others.
        dashboard: start the dashboard of a local Ray, on the loopback interface and behind Ray's token.

    Example:
        >>> LaunchOptions(address="auto", max_concurrent=8).keep_checkpoints
        'selected'
    """

    address: str | None = None
    max_concurrent: int | None = None
    require_tracking: bool = False
    allow_change: bool = False
    take_over: bool = False
    on_error: OnError = "continue"
    keep_checkpoints: Kept = "selected"
    strict_environment: bool = False
    unshared: bool = False
    dashboard: bool = False
