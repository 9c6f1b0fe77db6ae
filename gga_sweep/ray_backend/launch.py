"""The live parts of a launch."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.execution.signals import StopSignals
from gga_sweep.ledger.lease import Lease
from gga_sweep.tracking.projector import Projector

START_SECONDS = 120.0
"""For so long at most, tracking leaves the interpreter to the start of Ray and of the first run."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What the waves of a launch and their callbacks share. Never pickled.

    Args:
        lease: of the sweep; its `reason` stops the launch.
        signals: installed for the launch.
        projector: shows the ledger in MLflow.
        options: of the launch.
        console: shows the progress.
    """

    lease: Lease
    signals: StopSignals
    projector: Projector
    options: LaunchOptions
    console: Console
