"""The console script, called in the process of the test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gga_sweep import cli


@dataclass(frozen=True)
class Called:
    """What a command left: its exit code, and what it printed."""

    code: object
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it printed, with the spaces of tables made one."""
        return " ".join(self.out.split())


Command = Callable[..., Called]


@pytest.fixture
def gga(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Calls the console script in this process, in a folder of the test's, so wide that nothing is wrapped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(cli.out, "_width", 1000)

    def call(*arguments: object) -> Called:
        monkeypatch.setattr(sys, "argv", ["gga-sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Called(ended.value.code, printed.out, printed.err)

    return call
