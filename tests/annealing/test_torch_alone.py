"""The README's own training loop, run where nothing is installed but torch and what torch requires."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gga_sweep

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

NOT_NEEDED = ("ray", "mlflow", "pydantic", "numpy", "torchvision", "yaml", "pandas")

FIND_MODULES = """
import importlib.util, sys
sys.path.insert(0, sys.argv[1])
print([name for name in sys.argv[2:] if importlib.util.find_spec(name)])
"""

RUN_EXAMPLE = """
import sys
sys.path.insert(0, sys.argv[1])
exec(sys.argv[2], {})
"""


def _example() -> str:
    (block,) = re.findall(r"### Anneal your own training loop\n.*?```python\n(.*?)```", README, flags=re.DOTALL)
    return str(block)


def _required_by(requirement: Requirement, found: dict[str, metadata.Distribution]) -> dict[str, metadata.Distribution]:
    """The distributions that a requirement needs here, itself included, by name; added to `found`."""
    name, extras = canonicalize_name(requirement.name), requirement.extras or {""}
    if name in found and extras == {""}:
        return found
    found[name] = metadata.distribution(name)
    for line in found[name].requires or ():
        needed = Requirement(line)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            _required_by(needed, found)
    return found


def _top_level(distribution: metadata.Distribution) -> set[Path]:
    """The files and folders of a distribution that stand in site-packages itself."""
    names = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
    return {Path(str(distribution.locate_file(name))) for name in names}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: torch, what it requires, and the annealing."""
    folder = tmp_path_factory.mktemp("site")
    for distribution in _required_by(Requirement("torch"), {}).values():
        for place in _top_level(distribution):
            if not (folder / place.name).exists():
                (folder / place.name).symlink_to(place)
    package = Path(gga_sweep.__file__).parent
    shutil.copytree(package / "annealing", folder / "gga_sweep" / "annealing")
    shutil.copy(package / "__init__.py", folder / "gga_sweep")
    return folder


def _run(program: str, *arguments: str) -> str:
    """What the program prints, in an interpreter that knows the standard library alone."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_environment_holds_torch_and_little_else(site: Path) -> None:
    torch_needs = set(_required_by(Requirement("torch"), {}))
    names = [name for name in NOT_NEEDED if name not in torch_needs]
    assert {"ray", "mlflow", "pydantic"} <= set(names)
    assert _run(FIND_MODULES, str(site), *names, "torch") == "['torch']\n"


def test_the_readme_example_anneals_there(site: Path) -> None:
    printed = _run(RUN_EXAMPLE, str(site), _example()).splitlines()
    found = [re.fullmatch(r"step (\d+): alignment (\S+) -> (\S+)", line) for line in printed]
    assert [int(line[1]) for line in found if line] == list(range(10, 15))
    assert all(float(line[2]) < float(line[3]) for line in found if line)
