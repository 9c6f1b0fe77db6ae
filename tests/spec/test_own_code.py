"""The source of a user's own parts is part of a run's key."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from run_configs import run_config

from gga_sweep.errors import InputError
from gga_sweep.spec.key import run_key
from gga_sweep.spec.own_code import source_digest

PACKAGE = {
    "nets/__init__.py": "import torch\n",
    "nets/wide.py": "from . import blocks\nfrom nets.sizes import WIDTH\n\ndef make(shape): return None\n",
    "nets/blocks.py": "def block():\n    import helper\n    return helper\n",
    "nets/sizes.py": "WIDTH = 16\n",
    "nets/unused.py": "WIDTH = 1\n",
    "helper.py": "import json, os.path, numpy as np\nfrom gga_sweep.algorithms.base import Algorithm\n",
    "site-packages/bought.py": "import bought_helper\n",
    "site-packages/bought_helper.py": "",
}
"""Beside modules of the user's, a package that is installed."""


def write(root: Path) -> Path:
    for name, text in PACKAGE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Python finds the modules."""
    root = write(tmp_path / "project")
    for folder in (root, root / "site-packages"):
        monkeypatch.syspath_prepend(str(folder))
    return root


@pytest.mark.parametrize("name", ["nets/__init__.py", "nets/wide.py", "nets/blocks.py", "nets/sizes.py", "helper.py"])
def test_the_digest_depends_on_each_module_of_the_user_that_is_imported(name: str, project: Path) -> None:
    before = source_digest("nets.wide:make")
    (project / name).write_text(PACKAGE[name] + "# changed\n")
    assert source_digest("nets.wide:make") != before
    (project / name).write_text(PACKAGE[name])
    assert source_digest("nets.wide:make") == before


def test_other_modules_do_not_count(project: Path) -> None:
    before = source_digest("nets.wide:make")
    (project / "nets" / "unused.py").write_text("WIDTH = 2\n")
    (project / "helper.py").with_name("other.py").write_text("")
    assert source_digest("nets.wide:make") == before
    assert source_digest("nets.wide:another") == before


def test_an_installed_module_counts_by_its_own_source(project: Path) -> None:
    before = source_digest("bought:make")
    (project / "site-packages" / "bought_helper.py").write_text("changed = True\n")
    assert source_digest("bought:make") == before
    (project / "site-packages" / "bought.py").write_text("changed = True\n")
    assert source_digest("bought:make") != before


@pytest.mark.usefixtures("project")
def test_the_digest_is_the_same_elsewhere_and_imports_nothing(tmp_path: Path) -> None:
    other = write(tmp_path / "other")
    code = (
        "import sys\nfrom gga_sweep.spec.own_code import source_digest\nprint(source_digest('nets.wide:make'))\n"
        "print({'nets', 'helper', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=other, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [source_digest("nets.wide:make"), "set()"]


def test_source_that_this_python_cannot_parse_counts_by_its_bytes(project: Path) -> None:
    (project / "helper.py").write_text("print 'of another Python'\n")
    before = source_digest("nets.wide:make")
    (project / "helper.py").write_text("print 'of yet another'\n")
    assert source_digest("nets.wide:make") != before


def test_a_part_without_a_file_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_up", types.ModuleType("made_up"))
    for part in ("made_up:make", "nowhere:make", "sys:path", "..:x"):
        with pytest.raises(InputError, match=r"training\.network: must be in a file: its source is part of .*got '"):
            source_digest(part, "training.network")
    shutil.rmtree(project / "nets")
    with pytest.raises(InputError):
        source_digest("nets.wide:make")


def test_a_key_hashes_the_source_of_its_own_parts_alone() -> None:
    code = {"mine:net": "1" * 32, "mine:Algorithm": "2" * 32, "mine:images": "3" * 32}

    def key(code: dict[str, str], **changes: str) -> str:
        return run_key(run_config(**changes), "d" * 32, 1, code=code)

    assert key(code) == key({})
    for name, field in zip(code, ("training__network", "algorithm", "dataset__name"), strict=True):
        changes = {field: name}
        assert key(code, **changes) == key({name: code[name]}, **changes)
        assert len({key(code, **changes), key({}, **changes), key({**code, name: "4" * 32}, **changes)}) == 3
