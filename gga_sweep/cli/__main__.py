"""`python -m gga_sweep.cli` is `gga-sweep`."""

from gga_sweep.cli import main

main()
