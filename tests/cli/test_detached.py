"""A launch in the background continues after its shell, and reports an error at its start."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_sweep import small_sweep, train_without_ray

import gga_sweep
from gga_sweep.cli import detached
from gga_sweep.cli.detached import launch_detached
from gga_sweep.errors import GGASweepError
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.ledger.lease import LAUNCHES, held, newest_holder
from gga_sweep.ledger.ledger import Ledger


@pytest.fixture(autouse=True)
def modules_of_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)


def loaded(folder: Path, **fields: Any) -> tuple[gga_sweep.SweepSpec, str]:
    """The sweep, its runs trained already, and its file."""
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(small_sweep(**fields)))
    sweep = gga_sweep.load(file, storage=folder / "storage")
    train_without_ray(sweep)
    return sweep, str(file)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it is left running on purpose
def test_it_launches_in_its_own_session_and_logs_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here on a console without our characters."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    sweep, file = loaded(tmp_path)
    launched = launch_detached(sweep, [file], LaunchOptions())
    deadline = time.monotonic() + 60
    while "Page:" not in launched.log.read_text():
        assert time.monotonic() < deadline, launched.log.read_text()
        time.sleep(0.1)
    holder = newest_holder(Ledger(sweep.folder).store, LAUNCHES)
    assert holder is not None
    assert holder.pid == launched.pid != os.getpid()
    assert "Average" in launched.log.read_text(encoding="ascii")


def test_a_launch_that_cannot_start_reports_why(tmp_path: Path) -> None:
    sweep, file = loaded(tmp_path)
    with (
        held(Ledger(sweep.folder).store),
        pytest.raises(GGASweepError, match=r"exit code 3:\nReading .*\nanother launch owns"),
    ):
        launch_detached(sweep, [file], LaunchOptions())


class Started:
    """A process that has just ended well; what it was given."""

    pid, returncode = 1, 0
    command: list[str]
    environment: dict[str, str]

    def poll(self) -> int:
        return 0


def test_it_receives_the_options_and_hides_the_tracking_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started()

    def start(command: list[str], *, env: dict[str, str], start_new_session: bool, **streams: Any) -> Started:
        started.command, started.environment = command, env
        assert start_new_session
        return started

    monkeypatch.setattr(detached.subprocess, "Popen", start)
    sweep = gga_sweep.load(small_sweep(), storage=tmp_path, tracking_uri="http://anna:secret@host:5000")
    options = LaunchOptions(address="auto", max_concurrent=3, take_over=True, on_error="stop")
    launch_detached(sweep, ["file.yaml", "--set", "draws=2"], options)

    assert started.command[:5] == [sys.executable, "-P", "-m", "gga_sweep.cli", "run"]
    assert started.command[5:] == [
        *("file.yaml", "--set", "draws=2", "--storage", str(tmp_path)),
        *("--address", "auto", "--max-concurrent", "3", "--take-over", "--on-error", "stop"),
    ]
    assert started.environment["MLFLOW_TRACKING_URI"] == "http://anna:secret@host:5000"
