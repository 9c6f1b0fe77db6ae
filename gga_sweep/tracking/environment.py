"""What Ray and MLflow read from the environment when they are imported: set in one place, before their imports."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # Nobody is told what runs here.
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # Ray: no loggers beside the ledger, no driver state worth saving (we never restore from it), absolute paths.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",  # its panels cannot be silenced, and ours tells more
        # MLflow: never send a request twice (what it creates would be doubled), fail soon (the projector tries again by
        # itself; a busy SQLite answers within 20 s) and print nothing.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_AGENT_HINT": "true",
    }
)


def set_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set what is not set yet: the user's own choice stays."""
    for name, value in ENVIRONMENT.items():
        environ.setdefault(name, value)


def forwarded_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What workers on other machines are to be given, as `env_vars` of Ray's runtime environment: nothing else."""
    return {name: environ.get(name, value) for name, value in ENVIRONMENT.items()}
