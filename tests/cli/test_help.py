"""Help, version, slips, and the commands that write sweep files to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gga_sweep

if TYPE_CHECKING:  # pytest wants to import it itself
    from console import Command


def test_a_new_sweep_file_is_written_with_its_schema_and_planned(gga: Command, tmp_path: Path) -> None:
    file = tmp_path / "first.yaml"
    called = gga("new", "first", "--output", file)
    assert (called.code, called.err) == (0, "")
    assert called.out.endswith(f"Next: gga-sweep plan {file}\n")
    assert (tmp_path / "sweep.schema.json").read_text() == gga("schema").out
    assert "72 runs in 36 cells" in gga("plan", file).words
    again = gga("new", "first", "--output", file)
    assert again.code == 2
    assert "--output: must not exist: no file is overwritten" in again.err


def test_the_version_is_that_of_the_package(gga: Command) -> None:
    called = gga("--version")
    assert (called.code, called.out) == (0, f"gga-sweep {gga_sweep.__version__}\n")


def test_the_help_has_its_commands_in_groups_and_a_flag_without_a_type(gga: Command) -> None:
    listed = gga("--help").words
    places = [listed.index(f"{panel} ──") for panel in ("Prepare", "Run", "Results", "Single runs", "Upkeep")]
    assert places == sorted(places)
    of_run = gga("run", "--help").words
    assert "<bool>" not in listed + of_run
    assert "gga-sweep[dashboard]" in of_run
    assert of_run.index("Options ──") < of_run.index("Launch ──") < of_run.index("--max-concurrent")


@pytest.mark.parametrize(
    ("words", "meant"), [("statu", "Did you mean 'status'?"), ("status --wach x", "(Possible options: --watch)")]
)
def test_a_slip_in_a_command_or_an_option_names_what_was_meant(gga: Command, words: str, meant: str) -> None:
    called = gga(*words.split())
    assert called.code == 2
    assert meant in " ".join(called.err.split())
