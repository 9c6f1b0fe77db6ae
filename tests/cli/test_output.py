"""What a command does where its output cannot be written, or its console lacks characters."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_sweep import small_sweep, train_without_ray

import gga_sweep

GGA = '"$PYTHON" -m gga_sweep.cli'
FULL = "No space left on device"


def shell(script: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHON": sys.executable, **variables}
    return subprocess.run(["bash", "-c", script], capture_output=True, env=environment, timeout=100, check=False)


@pytest.fixture(autouse=True)
def _tests_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the processes of the commands, whose sweep has a dataset of the tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)


@pytest.fixture(scope="module")
def trained_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sweep file whose runs are trained already, and the folder of its storage, as arguments of `run`."""
    folder = tmp_path_factory.mktemp("sweep")
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(small_sweep()))
    train_without_ray(gga_sweep.load(file, storage=folder / "storage"))
    return f"{file} --storage {folder / 'storage'} --tracking-uri sqlite:///{folder / 'mlflow.db'}"


def test_launch_goes_on_and_ends_well_where_its_output_is_lost(trained_file: str) -> None:
    full = shell(f"{GGA} run {trained_file} > /dev/full")
    assert (full.returncode, full.stderr.decode()) == (
        0,
        f"The output cannot be written any more: {FULL}. The training continues without it.\n",
    )


@pytest.mark.parametrize("redirection", ["> /dev/full 2>&1", ">&- 2>&-", "| true; exit ${PIPESTATUS[0]}"])
def test_output_that_is_not_required_may_be_lost(redirection: str) -> None:
    program = (
        "import sys; from gga_sweep.cli.output import STANDARD, open_streams; open_streams(); "
        "STANDARD.required = False; print(1, flush=True); print(2, flush=True); print(3, file=sys.stderr)"
    )
    assert shell(f"\"$PYTHON\" -c '{program}' {redirection}").returncode == 0


def test_launch_goes_on_where_its_terminal_is_closed(trained_file: str) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gga_sweep.cli", "run", *trained_file.split()],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    os.close(master)
    assert process.wait(100) == 0


def test_command_whose_output_is_its_result_fails_where_it_is_lost() -> None:
    full = shell(f"{GGA} plan demo > /dev/full")
    assert (full.returncode, full.stderr.decode()) == (1, f"The output cannot be written: {FULL}.\n")
    ended = shell(f"{GGA} plan demo | true; exit ${{PIPESTATUS[0]}}")
    assert (ended.returncode, ended.stderr) == (1, b"")
    assert shell(f"{GGA} plan demo >&-").returncode == 0


def test_closed_descriptors_are_not_given_to_files(tmp_path: Path) -> None:
    program = f"""
import os, subprocess
from gga_sweep.cli.output import open_streams
open_streams()
file = open({str(tmp_path / "database")!r}, "w")
assert file.fileno() > 2
subprocess.run(["echo", "of a child process"], check=True)
print("of this one", flush=True)
"""
    assert shell(f"\"$PYTHON\" -c '{program.replace(chr(39), chr(34))}' <&- >&- 2>&-").returncode == 0
    assert (tmp_path / "database").read_bytes() == b""


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", "41.2 +/- 3.2 - caf\\xe9 \\u96ea ... -- * \\udcff"),
        ("latin-1", "41.2 ± 3.2 · café \\u96ea ... -- * \\udcff"),
        ("cp437", "41.2 ± 3.2 · café \\u96ea ... -- * \\udcff"),
        ("utf-8", "41.2 ± 3.2 · café 雪 … ━╸ \u280b \\udcff"),
        ("utf-16-le", "41.2 ± 3.2 · café 雪 … ━╸ \u280b \\udcff"),
    ],
)
def test_characters_that_a_console_lacks_are_printed_in_plain_ones(encoding: str, expected: str) -> None:
    program = (
        "from gga_sweep.cli.output import open_streams; open_streams(); from gga_sweep.cli import err, out; "
        r'text = "41.2 \xb1 3.2 \xb7 caf\xe9 \u96ea \u2026 \u2501\u2578 \u280b \udcff"; '
        "out.print(text); err.print(text)"
    )
    done = shell(f"\"$PYTHON\" -c '{program}'", PYTHONIOENCODING=encoding)
    assert (done.stdout.decode(encoding), done.stderr.decode(encoding)) == (f"{expected}\n", f"{expected}\n")
