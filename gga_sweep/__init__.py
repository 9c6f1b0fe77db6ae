"""gga-sweep: sweeps of Gradient-Guided Annealing for domain generalization, on Ray Tune, tracked in MLflow.

The public names are loaded when first used: `import gga_sweep` alone loads neither torch, ray nor mlflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gga_sweep.errors import GGASweepError, InputError, SweepOwnedError
    from gga_sweep.ray_backend.callbacks import callbacks
    from gga_sweep.ray_backend.launch import run_sweep
    from gga_sweep.ray_backend.options import LaunchOptions
    from gga_sweep.ray_backend.result import SweepResult
    from gga_sweep.ray_backend.search_space import param_space
    from gga_sweep.ray_backend.trainable import trainable
    from gga_sweep.selection import Selected, Table, select
    from gga_sweep.spec import Plan, Sweep, load, plan_sweep

_HOMES = {
    "GGASweepError": "errors",
    "InputError": "errors",
    "LaunchOptions": "ray_backend.options",
    "Plan": "spec",
    "Selected": "selection",
    "Sweep": "spec",
    "SweepOwnedError": "errors",
    "SweepResult": "ray_backend.result",
    "Table": "selection",
    "callbacks": "ray_backend.callbacks",
    "load": "spec",
    "param_space": "ray_backend.search_space",
    "plan_sweep": "spec",
    "run_sweep": "ray_backend.launch",
    "select": "selection",
    "trainable": "ray_backend.trainable",
}

__all__ = [
    "GGASweepError",
    "InputError",
    "LaunchOptions",
    "Plan",
    "Selected",
    "Sweep",
    "SweepOwnedError",
    "SweepResult",
    "Table",
    "callbacks",
    "load",
    "param_space",
    "plan_sweep",
    "run_sweep",
    "select",
    "trainable",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
