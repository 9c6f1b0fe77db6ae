"""Sweeps on Ray Tune: the trainable, the launch in waves, the live display."""

from gga_sweep.tracking.environment import set_environment

set_environment()  # before anything below imports ray or mlflow, which read it when they are imported
