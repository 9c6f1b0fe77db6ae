"""The only module that imports MLflow, which reads the environment when imported (its server: `served_page`)."""

from __future__ import annotations

from typing import Any

from gga_sweep.process_state import environment_variables
from gga_sweep.tracking.environment import ENVIRONMENT

with environment_variables(ENVIRONMENT):
    from mlflow import MlflowClient
    from mlflow.entities import (
        Dataset,
        DatasetInput,
        Experiment,
        InputTag,
        LoggedModel,
        LoggedModelOutput,
        Metric,
        Param,
        Run,
        RunTag,
        ViewType,
    )
    from mlflow.exceptions import MlflowException

__all__ = [
    "Dataset",
    "DatasetInput",
    "Experiment",
    "InputTag",
    "LoggedModel",
    "LoggedModelOutput",
    "Metric",
    "MlflowClient",
    "MlflowException",
    "Param",
    "Run",
    "RunTag",
    "ViewType",
    "import_models",
    "import_monitors",
]


def import_models() -> tuple[Any, Any, Any, Any]:
    """`Model`, `ModelSignature`, `Schema` and `TensorSpec`: only a sweep that logs models needs this slow import."""
    with environment_variables(ENVIRONMENT):
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec
    return Model, ModelSignature, Schema, TensorSpec


def import_monitors() -> tuple[type[Any], ...]:
    """MLflow's monitors of a machine: only a sweep that logs system metrics needs this slow import."""
    with environment_variables(ENVIRONMENT):
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    return CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor
