"""The examples of the README and of its docs pages, run as they stand there but with less to train."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import gga_sweep
from gga_sweep import cli

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::optuna.exceptions.ExperimentalWarning")


def blocks(page: str, language: str, heading: str = "") -> list[str]:
    """The fenced blocks of one language in a page, or between one of its headings and the next."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if heading:
        section = text.partition(f"{heading}\n")[2]
        text = re.split(r"^#{2,3} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def run_lines(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each line as a command; none may fail."""
    for line in block.splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None), line


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("local_ray", "quick_launches")
def test_the_commands_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("docs/running.md", "bash", "## From the command line")
    run_lines(replaced(block, "trial_seeds=[0]", "trial_seeds=[0] --set training.steps=50"), monkeypatch)
    printed = capsys.readouterr().out
    assert "36 runs in 18 cells" in printed
    assert "\\toprule" in printed
    assert "ERM + GGA &" in printed


@pytest.mark.usefixtures("local_ray", "quick_launches")
def test_the_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    (sweep,) = blocks("README.md", "python", "## Python")
    (own_tuner,) = blocks("docs/running.md", "python", "## In your own Ray Tune code")
    names: dict[str, object] = {}
    exec(replaced(sweep, '"draws": 1}', '"draws": 1, "training.steps": 50}'), names)
    assert re.search(r"ERM \+ GGA [\d.]+ %", capsys.readouterr().out)
    assert type(names["model"]).__name__ == "Network"
    exec(replaced(own_tuner, '"training.steps": 60}', '"training.steps": 60, "training.evaluate_every": 59}'), names)
    assert not names["results"].errors  # type: ignore[attr-defined]
    assert len(names["results"].get_dataframe()) == 4  # type: ignore[attr-defined]
    assert Path("gga-sweep-results/searched/report.html").exists()


def test_the_sweep_file_is_valid(tmp_path: Path) -> None:
    (block,) = blocks("README.md", "yaml", "## A sweep file")
    file = tmp_path / "radius.yaml"
    file.write_text(block)
    names = [arm.name for arm in gga_sweep.load(file).arms]
    assert names == ["ERM", "ERM + GGA, radius 1e-5", "ERM + GGA, radius 1e-4"]


@pytest.mark.usefixtures("local_ray", "quick_launches")
def test_the_tutorial_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "docs/tutorial.md"
    make_photos, select_a_model = blocks(page, "python")
    (sweep,) = blocks(page, "yaml")
    names: dict[str, object] = {}
    exec(make_photos, names)
    sweep = replaced(sweep, "trial_seeds: [0, 1, 2]", "trial_seeds: [0]")
    Path("photos.yaml").write_text(replaced(sweep, "test_domains: all ", "test_domains: [dark] "))
    commands = replaced("".join(blocks(page, "bash")), "trial_seeds=[0,1,2,3]", "trial_seeds=[0,1]")
    run_lines(commands, monkeypatch)
    exec(select_a_model, names)
    assert type(names["model"]).__name__ == "Network"
    assert len(list(Path("gga-sweep-results/photos/runs").iterdir())) == 4
