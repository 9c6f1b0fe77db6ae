"""A launch in the background, that outlives the shell it was started from."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from gga_sweep.errors import GGASweepError
from gga_sweep.execution.prepare import require_writable
from gga_sweep.ledger.lease import LAUNCHES, live_holder, newest_holder
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ray_backend.options import LaunchOptions
from gga_sweep.spec import Sweep

_START_SECONDS = 120.0
_LOG = "launch.log"


@dataclass(frozen=True, slots=True)
class Detached:
    """A launch in the background: its process, and the file that its output is added to."""

    pid: int
    log: Path


def launch_detached(sweep: Sweep, arguments: Sequence[str], options: LaunchOptions) -> Detached:
    """Launch a sweep in a process of its own, and return once it owns the sweep, or has ended well.

    Args:
        sweep: checked; the process reads it again.
        arguments: of `gga-sweep run` that name it: the file, and what overrides it.

    Raises:
        InputError: the storage cannot be written.
        GGASweepError: the process ended with an error before it owned the sweep, in its own words.
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
    if sweep.tracking_uri is not None:  # everybody may read the arguments of a process
        environment["MLFLOW_TRACKING_URI"] = sweep.tracking_uri
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            [*command, *_flags(options)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # the end of this shell is not its end
        )
    if not _has_begun(process, Ledger(sweep.folder)):
        with log.open("rb") as text:
            text.seek(begin)
            said = text.read().decode(errors="replace").strip()
        raise GGASweepError(f"the launch ended with exit code {process.returncode}:\n{said}")
    return Detached(process.pid, log)


def _has_begun(process: subprocess.Popen[bytes], ledger: Ledger) -> bool:
    """Whether it owns the sweep, or has ended well (with nothing left to train); False where it ended otherwise."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        holder = live_holder(ledger.store, LAUNCHES)
        if holder is not None and holder.pid == process.pid:
            return True
        time.sleep(0.1)
    newest = newest_holder(ledger.store, LAUNCHES)
    return process.returncode in (None, 0) or (newest is not None and newest.pid == process.pid)


def _flags(options: LaunchOptions) -> list[str]:
    """Of the command line, for what is not the default."""
    words: list[str] = []
    for field in fields(options):
        value = getattr(options, field.name)
        if value != field.default:
            words += [f"--{field.name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words
