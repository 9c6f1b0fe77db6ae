"""Nothing of ours stays changed in a user's process: not after an import, a launch, or a prediction."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

SCRIPT = """
import sys
from state_of_process import Watched

watched = Watched()
import gga_sweep
watched.show("import")
for name in gga_sweep.__all__:
    getattr(gga_sweep, name)
watched.show("names")

from small_sweep import small_sweep
sweep = gga_sweep.load(small_sweep(arms=[{"algorithm": "ERM"}]), storage=sys.argv[1])
result = gga_sweep.run_sweep(sweep)
assert not result.failed, result.failed
watched.show("run_sweep")
result.best().predict()
watched.show("predict")
gga_sweep.trainable(sweep), gga_sweep.callbacks(sweep), gga_sweep.result(sweep)
watched.show("own Tuner")
"""


def run_alone(script: str, folder: Path) -> str:
    """The output of a script in a process of its own, whose environment has none of our variables."""
    ours = ("RAY_", "MLFLOW_", "TUNE_", "DO_NOT_TRACK", "CUBLAS_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ |= {"PYTHONPATH": os.pathsep.join([str(TESTS), environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", script, str(folder / "results")]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_a_process_is_as_it_was_after_each_use_of_the_public_names(tmp_path: Path) -> None:
    lines = run_alone(SCRIPT, tmp_path).splitlines()
    assert [line for line in lines if not line.endswith(": nothing")] == []
    assert len(lines) == 5
