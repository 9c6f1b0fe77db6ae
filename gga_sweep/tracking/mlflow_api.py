"""The only module that imports MLflow, which reads the environment when it is imported."""

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
]


def import_models() -> tuple[Any, Any, Any, Any]:
    """`Model`, `ModelSignature`, `Schema` and `TensorSpec`: only a sweep that logs models needs this slow import."""
    with environment_variables(ENVIRONMENT):
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec
    return Model, ModelSignature, Schema, TensorSpec
