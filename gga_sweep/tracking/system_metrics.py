"""Measurements of a run's machine, by MLflow's own monitors and under MLflow's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from gga_sweep.tracking.mlflow_api import import_monitors

PREFIX = "system/"
"""MLflow shows metrics that begin with it on a page of their own."""


class SystemMetrics:
    """Measures the node that it is called on: processor, memory, disk, network; GPUs if `nvidia-ml-py` is installed.

    Args:
        monitors: classes of MLflow's.
    """

    def __init__(self, monitors: Callable[[], tuple[type[Any], ...]] = import_monitors) -> None:
        self._monitors = []
        for monitor in monitors():
            with suppress(ImportError, RuntimeError):  # no such GPU, or no package that can read it
                self._monitors.append(monitor())
        self()  # a monitor of the processor measures since its last call

    def __call__(self) -> Mapping[str, float]:
        """The values by metric, since the last call."""
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values |= {PREFIX + name: float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return values
