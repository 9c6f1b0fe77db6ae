"""The end of a command's process."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("loaded", "expected"), [("os", "frozen"), ("triton", "not frozen")])
def test_a_command_collects_no_garbage_at_its_exit_unless_triton_would_report_it(loaded: str, expected: str) -> None:
    program = (
        "import atexit, gc, os, sys\n"
        f"sys.modules['{loaded}'] = os\n"
        "atexit.register(lambda: print('frozen' if gc.get_freeze_count() else 'not frozen'))\n"  # runs last
        "sys.argv = ['gga-sweep', '--version']\n"
        "from gga_sweep.cli import main\n"
        "main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == expected
