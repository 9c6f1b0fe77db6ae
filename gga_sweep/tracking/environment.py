"""What MLflow reads from the environment, when it is imported and at each request."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # No telemetry.
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # Never send a request twice (it would create duplicates), fail soon (the projector retries by itself; a busy
        # SQLite answers within 20 s) and print nothing.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_AGENT_HINT": "true",
    }
)


def set_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set what is not set yet, for good, in a process of ours: a command. The user's own choice stays."""
    for name, value in ENVIRONMENT.items():
        environ.setdefault(name, value)
