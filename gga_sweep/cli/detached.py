"""Launches in the background, which continue after the shell has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gga_sweep.cli.launch_options import as_arguments
from gga_sweep.errors import GGASweepError
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.execution.prepare import require_writable
from gga_sweep.ledger.lease import LAUNCHES, live_holder, newest_holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.spec import SweepSpec

_START_SECONDS = 120.0
_LOG = "launch.log"


@dataclass(frozen=True, slots=True)
class Detached:
    """A launch in the background: its process, and the file that its output is appended to."""

    pid: int
    log: Path


def launch_detached(sweep: SweepSpec, arguments: Sequence[str], options: LaunchOptions) -> Detached:
    """Launch a sweep in a new process, and return once the process owns the sweep or has succeeded.

    Args:
        sweep: valid; the process loads it again.
        arguments: of `gga-sweep run`, for the same sweep: the file, and its overrides.

    Raises:
        InputError: the storage cannot be written.
        GGASweepError: the process failed before it owned the sweep; the message has its output.
    """
    require_writable(sweep.folder)
    log = sweep.folder / _LOG if isinstance(sweep.folder, Path) else Path.cwd() / f"{sweep.name}.{_LOG}"
    command = [
        sys.executable,
        "-P",
        "-m",
        "gga_sweep.cli",
        "run",
        *arguments,
        "--storage",
        str(sweep.storage.absolute()),
    ]
    environment = dict(os.environ)
    if sweep.tracking_uri is not None:  # other users can read the arguments of a process
        environment["MLFLOW_TRACKING_URI"] = sweep.tracking_uri
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            [*command, *as_arguments(options)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # it continues after the shell has ended
        )
    if not _has_started(process, Ledger(sweep.folder)):
        with log.open("rb") as text:
            text.seek(begin)
            message = text.read().decode(errors="replace").strip()
        raise GGASweepError(f"the launch ended with exit code {process.returncode}:\n{message}")
    return Detached(process.pid, log)


def _has_started(process: subprocess.Popen[bytes], ledger: Ledger) -> bool:
    """Whether it owns the sweep, or has succeeded with nothing left to train; False if it failed."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        holder = live_holder(ledger.store, LAUNCHES)
        if holder is not None and holder.pid == process.pid:
            return True
        time.sleep(0.1)
    newest = newest_holder(ledger.store, LAUNCHES)
    return process.returncode in (None, 0) or (newest is not None and newest.pid == process.pid)
