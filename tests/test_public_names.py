"""The public names, and what loading them costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gga_sweep

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LOADED = """
import sys

def loaded():
    return " ".join(name for name in ("torch", "ray", "mlflow") if name in sys.modules) or "none"

import gga_sweep
print("import:", loaded())

import gga_sweep.ray_backend.launch
print("launch:", loaded())

from gga_sweep.cli import main
sys.argv = ["gga-sweep", "plan", "demo"]
try:
    main()
except SystemExit as ended:
    print("plan:", ended.code, loaded())

import gga_sweep.execution.replay
print("train:", loaded())
"""


def test_importing_loads_nothing_heavy_planning_neither_and_training_alone_no_ray_and_no_mlflow(
    tmp_path: Path,
) -> None:
    """In a process of its own: here the other tests have loaded everything."""
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["import: none", "launch: none"]  # Ray comes where there is something to train, MLflow after it
    assert "36 runs in 18 cells" in done.stdout
    assert lines[-2:] == ["plan: 0 none", "train: torch"]
    assert list(tmp_path.iterdir()) == []  # planning starts nothing and writes nothing


def test_the_names_are_sorted_and_each_is_the_object_of_its_home() -> None:
    assert gga_sweep.__all__ == sorted(gga_sweep._HOMES)
    for name, home in gga_sweep._HOMES.items():
        assert getattr(gga_sweep, name) is getattr(import_module(f"gga_sweep.{home}"), name)


def test_all_names_can_be_imported_at_once() -> None:
    names: dict[str, object] = {}
    exec("from gga_sweep import *", names)
    assert names.keys() - {"__builtins__"} == set(gga_sweep.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gga_sweep' has no attribute 'sweep_all'"):
        gga_sweep.sweep_all  # noqa: B018
    assert not hasattr(gga_sweep, "__path_to_nowhere__")
