"""gga-sweep: sweeps of Gradient-Guided Annealing for domain generalization, on Ray Tune, tracked in MLflow.

The public names are loaded when first used: `import gga_sweep` alone loads neither torch, ray nor mlflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gga_sweep.errors import GGASweepError, InputError, SweepOwnedError
    from gga_sweep.planning import Plan, Sweep, load, plan_sweep
    from gga_sweep.selection import Selected, Table, select
    from gga_sweep.sweep.callbacks import callbacks
    from gga_sweep.sweep.launch import run_sweep
    from gga_sweep.sweep.options import LaunchOptions
    from gga_sweep.sweep.result import SweepResult
    from gga_sweep.sweep.search_space import param_space
    from gga_sweep.sweep.trainable import trainable

_HOMES = {
    "GGASweepError": "errors",
    "InputError": "errors",
    "LaunchOptions": "sweep.options",
    "Plan": "planning",
    "Selected": "selection",
    "Sweep": "planning",
    "SweepOwnedError": "errors",
    "SweepResult": "sweep.result",
    "Table": "selection",
    "callbacks": "sweep.callbacks",
    "load": "planning",
    "param_space": "sweep.search_space",
    "plan_sweep": "planning",
    "run_sweep": "sweep.launch",
    "select": "selection",
    "trainable": "sweep.trainable",
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
