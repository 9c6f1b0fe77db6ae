"""Sweeps on Ray Tune: the trainable, the callbacks, training in waves, the cluster. The only importer of Ray."""

from gga_sweep.ray_backend import ray_internals
from gga_sweep.tracking import environment

# Before any module below imports Ray, or Tune MLflow: both read the environment when they are imported.
ray_internals.set_environment()
environment.set_environment()
