"""The end of a command's process."""

from __future__ import annotations

import subprocess
import sys


def test_a_command_collects_no_garbage_at_its_exit() -> None:
    program = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print('frozen' if gc.get_freeze_count() else 'not frozen'))\n"  # runs last
        "sys.argv = ['gga-sweep', '--version']\n"
        "from gga_sweep.cli import main\n"
        "main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "frozen"
