"""Everything of Ray that we patch, write or read although it is no public interface, seen on Ray 2.60.0.

Ray's environment variables stand here too. They are set while a Ray of ours starts and while our own `Tuner.fit` runs,
and never for a user's own Tuner. `tests/ray_backend/test_ray_internals.py` fails where a newer Ray lacks one of these
names.
"""

from __future__ import annotations

import inspect
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from gga_sweep.errors import GGASweepError
from gga_sweep.process_state import replaced
from gga_sweep.tracking.environment import ENVIRONMENT as MLFLOW_ENVIRONMENT

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

SEEN_ON = "2.60.0"
"""The version of Ray whose source was read."""

TUNE_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # The ledger replaces Tune's loggers and its state of the driver, which is never restored from.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",
        "RAY_AIR_NEW_OUTPUT": "0",  # its panels cannot be silenced
    }
)
"""Of the `Tuner.fit` of a launch."""

NO_TELEMETRY: Mapping[str, str] = MappingProxyType({"RAY_USAGE_STATS_ENABLED": "0"})
"""While a Ray of ours runs."""

RAY_ENVIRONMENT: Mapping[str, str] = MappingProxyType({**NO_TELEMETRY, **TUNE_ENVIRONMENT, **MLFLOW_ENVIRONMENT})
"""Of a Ray that a launch starts, whose workers inherit it."""

STAY_IN_FOLDER = "RAY_CHDIR_TO_TRIAL_DIR"
"""With 0, a trial's actor stays in the folder where it was started, and relative paths stay valid."""

SET_BY_RAY = ("PYTHONBREAKPOINT", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
"""Variables that starting a Ray sets, or we for it."""

LOGGERS = ("ray", "ray.data", "ray.rllib", "ray.serve", "ray.train", "ray.tune")
"""Whose levels starting a Ray sets."""

ENABLE_CLUSTER = ("ray._private.ray_constants", "ENABLE_RAY_CLUSTER")
ENTRYPOINT_NAME = ("ray._private.utils", "get_entrypoint_name")
TAG_CALLBACKS = ("ray.air._internal.usage", "tag_callbacks")
REGISTER = ("ray.tune.experiment.experiment", "register_trainable")
PATCHED = (ENABLE_CLUSTER, ENTRYPOINT_NAME, TAG_CALLBACKS, REGISTER)
"""Module and name of everything that is replaced for a while."""

SYSTEM_CONFIG = MappingProxyType({"prestart_worker_first_driver": False})
"""For `ray.init(_system_config=)`. Ray would start a worker for each CPU, which takes a second, and Tune would use none
of them: its actors have another environment."""

REGISTRY = threading.Lock()
"""Held while Tune's registries are written, whose loops fail if another thread adds to them."""

_ACTOR = re.compile(r"Actor\(([0-9a-f]+)\)")


def forwarded_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that workers on other machines receive, as `env_vars` of Ray's runtime environment."""
    return {name: environ.get(name, value) for name, value in RAY_ENVIRONMENT.items()}


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
def registered_in_turn() -> Iterator[None]:
    """Within the block `Tuner.fit` registers its trainable while no other thread does."""
    from ray.tune.registry import register_trainable

    def register(name: str, trainable: Any, warn: bool = True) -> None:
        with REGISTRY:
            register_trainable(name, trainable, warn)

    with _replaced(REGISTER, register):
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


def error_of(trial: Trial) -> Exception | None:
    """The error that ended a trial. `Trial.get_pickled_error` reads the storage, and Tune writes it here."""
    from ray.train._internal.storage import get_fs_and_path

    files, folder = get_fs_and_path(trial.local_path)
    here = SimpleNamespace(storage_filesystem=files, trial_fs_path=folder)
    with replaced(trial, "storage", here):
        with suppress(Exception):  # of whatever the trial raised: its class may be missing here
            if (error := trial.get_pickled_error()) is not None:
                return cast(Exception, error)
        return cast("Exception | None", trial.get_error())


def running_scheduler() -> object | None:
    """The scheduler of the experiment that calls this from a callback: Tune passes it to none."""
    from ray.tune.execution.tune_controller import TuneController

    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(controller := frame.f_locals.get("self"), TuneController):
            return cast(object, controller.scheduler_alg)
        frame = frame.f_back
    return None


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
    with replaced(module, name, value):
        yield
