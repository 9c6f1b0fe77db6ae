"""Measurements of a machine by MLflow's monitors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

from gga_sweep.tracking.system_metrics import SystemMetrics

REAL = """
import ray, json  # Ray brings psutil
from gga_sweep.tracking.system_metrics import SystemMetrics
print(json.dumps(dict(SystemMetrics()())))
"""


class Counter(BaseMetricsMonitor):  # type: ignore[misc]  # MLflow is untyped
    """Counts how often it measured since its values were cleared."""

    def collect_metrics(self) -> None:
        self._metrics["calls"].append(1)

    def aggregate_metrics(self) -> dict[str, Any]:
        return {name: sum(values) for name, values in self._metrics.items()}


class Absent:
    """Of a device that the machine lacks."""

    def __init__(self) -> None:
        raise ImportError("no such package")


def test_each_call_measures_anew_and_leaves_out_what_the_machine_lacks() -> None:
    metrics = SystemMetrics(lambda: (Absent, Counter))
    assert [dict(metrics()) for _ in range(2)] == [{"system/calls": 1.0}] * 2


def test_mlflows_monitors_measure_the_machine_of_an_actor() -> None:
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=True)
    for name in ("cpu_utilization_percentage", "system_memory_usage_megabytes", "disk_usage_percentage"):
        assert f'"system/{name}": ' in done.stdout
