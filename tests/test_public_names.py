"""The public names, and what importing them loads."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import gga_sweep
from gga_sweep import api

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LOADED = """
import sys

def loaded():
    heavy = ("torch", "ray", "mlflow", "pandas", "matplotlib")
    return " ".join(name for name in heavy if name in sys.modules) or "none"

import gga_sweep
print("import:", loaded())

gga_sweep.run_sweep
import gga_sweep.ray_backend.launch, gga_sweep.ray_backend.sweep_end, gga_sweep.ray_backend.dashboard
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


def test_heavy_libraries_are_loaded_only_where_they_are_needed(tmp_path: Path) -> None:
    """In a process of its own, because other tests have loaded everything here."""
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["import: none", "launch: none"]  # Ray is loaded if there are runs to train, MLflow after it
    assert "36 runs in 18 cells" in done.stdout
    assert lines[-2:] == ["plan: 0 none", "train: torch"]
    assert list(tmp_path.iterdir()) == []  # planning starts nothing and writes nothing


def test_every_public_name_is_that_of_the_api() -> None:
    assert api.__all__ == sorted(api.__all__)
    for name in api.__all__:
        assert getattr(gga_sweep, name) is getattr(api, name)
    assert {*api.__all__, "__version__"} <= set(dir(gga_sweep))
    everything: dict[str, object] = {}
    exec("from gga_sweep import *", everything)
    assert set(api.__all__) <= set(everything)


def test_a_submodule_is_imported_without_the_public_names(tmp_path: Path) -> None:
    look = "import sys; from gga_sweep import annealing; print('gga_sweep.api' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_version_is_that_of_the_installed_package() -> None:
    assert gga_sweep.__version__ == version("gga-sweep")


@pytest.mark.parametrize("module", [gga_sweep, api], ids=lambda module: module.__name__)
def test_an_unknown_name_is_an_attribute_error(module: object) -> None:
    with pytest.raises(AttributeError, match=r"module 'gga_sweep(\.api)?' has no attribute 'sweep_all'"):
        module.sweep_all  # type: ignore[attr-defined]  # noqa: B018
