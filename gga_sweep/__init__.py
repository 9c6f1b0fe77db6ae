"""gga-sweep: sweeps of Gradient-Guided Annealing for domain generalization, on Ray Tune, tracked in MLflow.

The public names are loaded when first used: `import gga_sweep` alone loads neither torch, ray nor mlflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gga_sweep.api import (
        GGASweepError,
        InputError,
        LaunchOptions,
        Plan,
        Selected,
        SweepOwnedError,
        SweepResult,
        SweepSpec,
        Table,
        callbacks,
        load,
        param_space,
        plan_sweep,
        run_sweep,
        select,
        trainable,
    )

    __version__: str

__all__ = [
    "GGASweepError",
    "InputError",
    "LaunchOptions",
    "Plan",
    "Selected",
    "SweepOwnedError",
    "SweepResult",
    "SweepSpec",
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
    if name == "__version__":
        from importlib.metadata import version

        return version("gga-sweep")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module("gga_sweep.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
