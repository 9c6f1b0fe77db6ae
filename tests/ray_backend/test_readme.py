"""The README's examples, run as they stand there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import gga_sweep
from gga_sweep import cli

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::optuna.exceptions.ExperimentalWarning")


def blocks(language: str, heading: str) -> list[str]:
    """The fenced blocks of one language between a heading and the next."""
    section = README.partition(f"{heading}\n")[2]
    section = re.split(r"^#{2,3} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("local_ray", "quick_launches")
def test_the_commands_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("bash", "### From the command line")
    for line in block.splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None), line
    printed = capsys.readouterr().out
    assert "36 runs in 18 cells" in printed
    assert "\\toprule" in printed
    assert "ERM + GGA &" in printed


@pytest.mark.usefixtures("local_ray", "quick_launches")
def test_the_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    sweep, own_tuner = blocks("python", "### From Python")
    names: dict[str, object] = {}
    exec(sweep, names)
    assert re.search(r"ERM \+ GGA [\d.]+ %", capsys.readouterr().out)
    assert type(names["model"]).__name__ == "Network"
    exec(own_tuner, names)
    assert not names["results"].errors  # type: ignore[attr-defined]
    assert len(names["results"].get_dataframe()) == 4  # type: ignore[attr-defined]
    assert Path("gga-sweep-results/searched/report.html").exists()


def test_the_sweep_file_is_valid(tmp_path: Path) -> None:
    (block,) = blocks("yaml", "## A sweep file")
    file = tmp_path / "radius.yaml"
    file.write_text(block)
    names = [arm.name for arm in gga_sweep.load(file).arms]
    assert names == ["ERM", "ERM + GGA, radius 1e-5", "ERM + GGA, radius 1e-4"]
