"""gga-sweep: sweeps of Gradient-Guided Annealing for domain generalization, on Ray Tune, tracked in MLflow.

The public names are those of `gga_sweep.api`, loaded when first used: `import gga_sweep` alone loads neither torch, ray
nor mlflow.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gga_sweep.api import *  # noqa: F403
    from gga_sweep.api import __all__ as __all__

    __version__: str


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("gga-sweep")
    private = name.startswith("_") and name != "__all__"
    if not private and find_spec(f"{__name__}.{name}") is None:  # `from gga_sweep import annealing` loads only that
        api = import_module("gga_sweep.api")
        if name in ("__all__", *api.__all__):
            value: object = getattr(api, name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("gga_sweep.api").__all__, "__version__"})
