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

THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor

import gga_sweep
from small_sweep import small_sweep

def load(name, lr):
    content = small_sweep(name, arms=[{"algorithm": "ERM"}], defaults={"lr": lr, "batch_size": 4}, trial_seeds=[0, 1])
    return gga_sweep.load(content, storage=sys.argv[1])

with ThreadPoolExecutor() as pool:
    results = list(pool.map(gga_sweep.run_sweep, [load("one", 1e-2), load("other", 1e-3)]))
assert [[run.status for run in result.records] for result in results] == [["DONE", "DONE"]] * 2, results
assert not {run.key for run in results[0].records} & {run.key for run in results[1].records}
assert [len(result.ledger.run_names()) for result in results] == [2, 2]
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


@pytest.mark.timeout(300)
def test_launches_in_two_threads_train_each_its_own_runs_on_one_ray(tmp_path: Path) -> None:
    run_alone(THREADS, tmp_path)
