"""The annealing floor needs torch alone, and its settings not even that."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import gga_sweep.annealing

OWN = {"gga_sweep", "gga_sweep.annealing"}


def _loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter holds after the statement."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout))


def test_the_annealing_needs_torch_alone() -> None:
    loaded = _loaded_by("from gga_sweep.annealing import *")
    assert "torch" in loaded
    assert not loaded & {"ray", "mlflow", "pydantic", "torchvision", "sklearn", "pandas", "yaml"}
    own = {name for name in loaded if name.split(".")[0] == "gga_sweep"}
    assert {name for name in own if not name.startswith("gga_sweep.annealing.")} == OWN


@pytest.mark.parametrize("source", ["gga_sweep.annealing.options", "gga_sweep.annealing"])
def test_the_settings_need_no_torch(source: str) -> None:
    loaded = _loaded_by(f"from {source} import VARIANTS, GGA, option_faults")
    assert "gga_sweep.annealing.options" in loaded
    assert "torch" not in loaded


def test_every_public_name_can_be_had() -> None:
    for name in gga_sweep.annealing.__all__:
        assert getattr(gga_sweep.annealing, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'cooling'"):
        gga_sweep.annealing.cooling  # noqa: B018
