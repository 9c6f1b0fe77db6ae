"""The only module that imports MLflow, after the environment is set."""

from __future__ import annotations

from gga_sweep.tracking.environment import set_environment

set_environment()

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Experiment, Metric, Param, Run, RunTag, ViewType  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

__all__ = ["Experiment", "Metric", "MlflowClient", "MlflowException", "Param", "Run", "RunTag", "ViewType"]
