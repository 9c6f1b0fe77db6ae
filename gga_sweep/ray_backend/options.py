"""How a sweep is launched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gga_sweep.ledger.run_folder import Kept

OnError = Literal["continue", "stop"]


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How a sweep is launched; nothing here changes a number.

    Args:
        address: of an existing Ray cluster ("auto" finds one); None starts a local one.
        max_concurrent: runs at once; None: what the resources allow.
        require_tracking: refuse to start without the tracking server.
        allow_change: go on although the file changed under its name.
        take_over: ask another live launch of the sweep to stop, and go on in its place.
        on_error: whether a run that fails stops the launch; the runs in training are left to the next one.
        keep_checkpoints: what stays of a final run to load: nothing, the weights of its best validation step, or its
            last checkpoint too.
        strict_environment: a run whose checkpoint was written in another environment fails, in place of going on.
        unshared: each run trains from step 0, also the steps that it has in common with others.
        dashboard: a Ray of the launch's own has its dashboard, on the loopback interface and behind Ray's token.
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
