"""What a table costs to import."""

from __future__ import annotations

import subprocess
import sys


def test_a_table_needs_neither_matplotlib_nor_scipy_nor_torch_nor_ray_nor_mlflow() -> None:
    modules = "gga_sweep.selection, gga_sweep.report.text, gga_sweep.report.markdown, gga_sweep.report.as_json"
    heavy = "{'matplotlib', 'scipy', 'torch', 'ray', 'mlflow'}"
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
