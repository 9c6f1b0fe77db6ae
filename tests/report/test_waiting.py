"""What is waited for, in words."""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from gga_sweep.report.text import render_text
from gga_sweep.report.waiting import waiting


class Output(ModuleType):
    """Stands for IPython's display, and for the output that it returns."""

    def __init__(self) -> None:
        super().__init__("IPython.display")
        self.shown: list[dict[str, str]] = []

    def display(self, content: dict[str, str], **_: Any) -> Output:
        self.update(content)
        return self

    def update(self, content: dict[str, str], **_: Any) -> None:
        self.shown.append(content)


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    output = Output()
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", output)
    return output


def test_a_notebook_shows_it_while_the_block_lasts(output: Output) -> None:
    notebook = Console(file=io.StringIO(), force_jupyter=True)
    with waiting(notebook, "Starting Ray"):
        assert output.shown == [{"text/plain": "Starting Ray ..."}]
    assert output.shown[1:] == [{"text/plain": ""}]


def test_a_quiet_notebook_shows_nothing(output: Output) -> None:
    with waiting(Console(force_jupyter=True, quiet=True), "Starting Ray"):
        pass
    assert output.shown == []


def test_a_pipe_gets_a_line() -> None:
    pipe = Console(file=io.StringIO(), force_jupyter=False, force_terminal=False)
    with waiting(pipe, "Starting Ray"):
        assert pipe.file.getvalue() == "Starting Ray ...\n"  # type: ignore[attr-defined]


def test_a_report_as_text_leaves_no_output_in_a_notebook(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = render_text(report)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", None)  # calling it would raise
    assert render_text(report) == before
