"""The benchmark for a GPU works: in its tiny form, on a CPU, without the packages that a GPU machine may lack."""

from __future__ import annotations

import json
import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent / "benchmarks" / "gpu.py"

ABSENT = (
    "ray",
    "mlflow",
    "msgspec",
    "yaml",
    "scipy",
    "sklearn",
    "safetensors",
    "typer",
    "rich",
    "matplotlib",
    "jinja2",
)
"""Packages of gga-sweep that the benchmark does without."""

MEASURED = (
    "ERM, DomainBed's way",
    "ERM, ours, domainbed-batched, float32, workers 0",
    "ERM, ours, domainbed-batched, float32, workers 1",
    "ERM, ours, domainbed-batched, tf32",
    "ERM, ours, domainbed-batched, bfloat16",
    "ERM, ours, domainbed, tf32",
    "ERM, ours over DomainBed's way",
    "one scoring: straightforward",
    "one scoring: loop",
    "one scoring: layerwise",
    "one scoring, straightforward over ours",
    "a training of guided, over ERM, extrapolated",
    "a training of paper, 250 candidates, over ERM, extrapolated",
    "everything",
)
"""Rows, or beginnings of them, that have a number on any device."""


def test_the_benchmark_for_a_gpu_measures_everything_it_can_on_a_cpu(tmp_path: Path) -> None:
    program = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({ABSENT!r}))\n"  # None: an import raises
        f"sys.argv = [{str(SCRIPT)!r}, '--tiny', '--output', {str(tmp_path)!r}]\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    rows = found["rows"]
    assert found["device"]
    for row in rows:
        finite = row["value"] is not None and math.isfinite(row["value"])
        assert finite != bool(row["reason"]), row
        assert not row["reason"].startswith("failed"), row
        assert row["name"] in ran.stdout
    measured = [row["name"] for row in rows if row["value"] is not None]
    for beginning in MEASURED:
        assert any(name.startswith(beginning) for name in measured), beginning
    table = (tmp_path / "gpu.md").read_text()
    assert all(f"| {row['name']} |" in table for row in rows)
    assert {row["aim"] for row in rows if row["name"] == "one scoring, straightforward over ours"} == {">= 2.5"}


def test_the_whole_benchmark_is_refused_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 2
    assert "there is no CUDA device here; --tiny runs everything in small on a CPU" in capsys.readouterr().err
