"""What a table costs to import."""

from __future__ import annotations

import subprocess
import sys


def test_a_table_needs_neither_matplotlib_nor_scipy_nor_torch_nor_ray_nor_mlflow() -> None:
    forms = ("text", "markdown", "latex", "long_table", "published", "make_report", "files")
    modules = ", ".join(("gga_sweep.selection", *(f"gga_sweep.report.{form}" for form in forms)))
    heavy = "{'matplotlib', 'scipy', 'torch', 'ray', 'mlflow'}"
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
