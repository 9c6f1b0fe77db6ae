"""The examples in docstrings run as they stand, and the names that users call have one."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import gga_sweep
import gga_sweep.annealing

PACKAGE = Path(gga_sweep.__file__).parent
EXAMPLES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))

TRAINED = {"run_sweep", "trainable", "callbacks", "select"}
"""They need trained runs: their examples stand in README and docs/running.md, and test_readme.py runs them."""


@pytest.mark.parametrize("path", EXAMPLES, ids=[str(path.relative_to(PACKAGE)) for path in EXAMPLES])
def test_examples_of_a_module_give_what_they_show(path: Path) -> None:
    name = ".".join(["gga_sweep", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize(
    "function",
    [
        *(getattr(gga_sweep, name) for name in gga_sweep.__all__ if name.islower() and name not in TRAINED),
        gga_sweep.annealing.anneal_step,
        gga_sweep.annealing.add_gradient_noise,
        gga_sweep.annealing.gradient_agreement,
        gga_sweep.annealing.GGA,
        gga_sweep.annealing.GGAL,
    ],
    ids=lambda function: function.__name__,
)
def test_public_functions_have_an_example(function: object) -> None:
    assert ">>> " in (inspect.getdoc(function) or "")
