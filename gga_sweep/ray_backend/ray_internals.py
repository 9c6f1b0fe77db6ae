"""Everything of Ray that we patch, write or read although it is no public interface, seen on Ray 2.60.0.

Ray's environment variables stand here too. Ray is imported inside the functions, because it reads them when it is
imported. `tests/ray_backend/test_ray_internals.py` fails where a newer Ray lacks one of these names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gga_sweep.errors import GGASweepError
from gga_sweep.tracking.environment import ENVIRONMENT as MLFLOW_ENVIRONMENT

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

SEEN_ON = "2.60.0"
"""The version of Ray whose source was read."""

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
        # The ledger replaces Tune's loggers and its state of the driver, which is never restored from.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths in sweep files stay valid
        "RAY_AIR_NEW_OUTPUT": "0",  # its panels cannot be silenced
    }
)

ENABLE_CLUSTER = ("ray._private.ray_constants", "ENABLE_RAY_CLUSTER")
ENTRYPOINT_NAME = ("ray._private.utils", "get_entrypoint_name")
TAG_CALLBACKS = ("ray.air._internal.usage", "tag_callbacks")
PATCHED = (ENABLE_CLUSTER, ENTRYPOINT_NAME, TAG_CALLBACKS)
"""Module and name of everything that is replaced for a while."""

SYSTEM_CONFIG = MappingProxyType({"prestart_worker_first_driver": False})
"""For `ray.init(_system_config=)`. Ray would start a worker for each CPU, which takes a second, and Tune would use none
of them: its actors have another environment."""

_ACTOR = re.compile(r"Actor\(([0-9a-f]+)\)")


def set_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set Ray's variables that are not set yet: the user's own choice stays."""
    for name, value in ENVIRONMENT.items():
        environ.setdefault(name, value)


def forwarded_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that workers on other machines receive, as `env_vars` of Ray's runtime environment."""
    return {name: environ.get(name, value) for name, value in {**ENVIRONMENT, **MLFLOW_ENVIRONMENT}.items()}


@contextmanager
def loopback_only() -> Iterator[None]:
    """A Ray started within the block listens on the loopback interface alone.

    It does so only where it believes that it cannot form clusters; it replaces a `_node_ip_address` of 127.0.0.1 by
    the machine's own.
    """
    with _replaced(ENABLE_CLUSTER, False):
        yield


@contextmanager
def hidden_command_line() -> Iterator[None]:
    """A Ray started or joined within the block does not show our command line, which may hold a password."""
    with _replaced(ENTRYPOINT_NAME, lambda: "gga-sweep"):
        yield


@contextmanager
def no_usage_tags() -> Iterator[None]:
    """Within the block Tune does not import MLflow, which takes seconds, just to count callbacks of its users."""
    with _replaced(TAG_CALLBACKS, lambda callbacks: False):
        yield


def dashboard_import_error() -> ImportError | None:
    """Why Ray's dashboard cannot be started; None where it can."""
    from ray._private.utils import get_dashboard_dependency_error

    error: ImportError | None = get_dashboard_dependency_error()
    return error


def actor_id(trial: Trial) -> str | None:
    """The id of a running trial's actor, as in Ray's messages."""
    actor = trial.temporary_state.ray_actor
    return None if actor is None else str(actor._actor_id.hex())


def forget_metrics(trial: Trial) -> None:
    """Delete Tune's statistics of every metric of a trial, about 30 KiB; a launch reads the ledger instead."""
    trial.run_metadata.metric_analysis, trial.run_metadata.metric_n_steps = {}, {}


def out_of_memory_error(error: RuntimeError) -> Exception | None:
    """The error of Ray's memory monitor that made Tune end the experiment; None if `error` has another cause.

    The monitor killed an actor during a task (ray/air/execution/_internal/actor_manager.py, `_actor_task_failed`).
    """
    import ray.exceptions

    cause = error.__cause__
    return cause if isinstance(cause, ray.exceptions.OutOfMemoryError) else None


def killed_actors(error: Exception) -> list[str]:
    """The ids of the actors that an error of Ray's memory monitor names."""
    return _ACTOR.findall(str(error))


@contextmanager
def _replaced(target: tuple[str, str], value: Any) -> Iterator[None]:
    """A name of a module has another value within the block."""
    module, name = import_module(target[0]), target[1]
    if not hasattr(module, name):
        raise GGASweepError(f"this version of Ray has no {'.'.join(target)}; use Ray {SEEN_ON}")
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
