"""The public names are typed: mypy, strict, accepts a user's script and knows the type of each expression in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gga_sweep

SCRIPT = """
from typing import assert_type

import matplotlib.figure
import pandas as pd

import gga_sweep
from gga_sweep import InputError, LaunchOptions, Plan, Selected, SweepResult, SweepSpec, Table, load, result

sweep = load("demo")
assert_type(sweep, SweepSpec)
launched = gga_sweep.run_sweep(sweep, LaunchOptions(on_error="stop"))
assert_type(launched, SweepResult)
assert_type(result("results/demo"), SweepResult)
assert_type(launched.table(), Table)
assert_type(launched.selected("oracle"), tuple[Selected, ...])
assert_type([row.average.mean for row in launched.table().rows], list[float])
assert_type(launched.dataframe(by="step"), pd.DataFrame)
assert_type(launched.plot("differences").figure, matplotlib.figure.Figure)
assert_type([one.validation.accuracy for run in launched.records for one in run.records], list[float])
assert_type(launched.plan, Plan)
print(launched.best(arm="ERM", test_domain="75").predict(), launched.best().load_model(), gga_sweep.__version__)
try:
    load("nowhere")
except InputError as error:
    print([fault.rule for fault in error.faults])
"""

MISTAKES = """
import gga_sweep

result = gga_sweep.result("results/demo")
result.dataframe(by="epoch")
result.plot(3)
result.best(trial_seed="0")
gga_sweep.LaunchOptions(on_error="pray")
"""

SETTINGS = """
[mypy]
strict = True
follow_imports = silent
disallow_any_expr = True
[mypy-torch.*,torchvision.*,ray.*,mlflow.*,sklearn.*,scipy.*,safetensors.*,boto3.*,botocore.*]
follow_imports = skip
ignore_missing_imports = True
"""


def test_a_script_is_typed_and_its_mistakes_are_found(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    search = {**os.environ, "MYPYPATH": str(Path(gga_sweep.__file__).parents[1])}
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "script.py", "mistakes.py"]
    command += ["--cache-dir", str(pytestconfig.cache.mkdir("mypy"))]  # of the package, which takes most of the time
    done = subprocess.run(command, cwd=tmp_path, env=search, capture_output=True, text=True, check=False)
    assert not done.stderr
    places = [":".join(line.split(":")[:2]) for line in done.stdout.splitlines()]
    assert places == [f"mistakes.py:{line}" for line in (5, 6, 7, 8)], done.stdout
