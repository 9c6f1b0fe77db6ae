"""An MLflow store in memory that fails on command: hundreds of faults in the time that a real store takes for one."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_ALREADY_EXISTS

from gga_sweep.tracking.mlflow_api import Metric, MlflowException, Param, RunTag, ViewType

LATE_SECONDS = 0.02

FAULTS = ("before", "after", "late", "half")
"""A request fails: without having been carried out; carried out; to be carried out later; carried out in part."""

_NEVER_LATE = (
    "search_",
    "get_",
    "log_artifact",
    "log_text",
    "log_model_artifacts",
)  # reads, and what the client writes by itself


class Page(list[Any]):
    token = None


class MemoryStore:
    """The store, for any number of clients.

    Args:
        late_seconds: after which a late request is carried out.
    """

    def __init__(self, late_seconds: float = LATE_SECONDS) -> None:
        self._late_seconds = late_seconds
        self.experiments: list[SimpleNamespace] = []
        self.runs: dict[str, SimpleNamespace] = {}
        self.artifacts: dict[str, dict[str, bytes]] = {}
        """Content of files, by run and name."""
        self.models: dict[str, SimpleNamespace] = {}
        self.late: list[tuple[float, Callable[[], object]]] = []
        self.away = False
        """While it is, every request fails."""
        self.requests = 0
        self._lock = threading.RLock()

    def connect(self, uri: str = "", faults: Iterator[str | None] | None = None) -> Any:
        """A client. Of each of its requests the next of `faults` says how it fails; None, or the end: it does not."""
        return _Client(self, iter(()) if faults is None else faults)

    def call(self, name: str, fault: str | None, /, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            self.requests += 1
            self.settle()
            if fault == "before" or self.away:
                raise ConnectionError("no answer from http://me:secret@host:5000\nand so on")
            if fault == "late":
                if not name.startswith(_NEVER_LATE):
                    self.late.append(
                        (time.monotonic() + self._late_seconds, lambda: self._carry_out(name, *args, **kwargs))
                    )
                raise TimeoutError("no answer")
            if fault == "half" and name == "log_batch":
                args, kwargs = args[:1], _half(**kwargs)
            result = self._carry_out(name, *args, **kwargs)
            if fault is not None:
                raise ConnectionError("cut off")
            return result

    def settle(self, everything: bool = False) -> None:
        """Carry out the late requests that are due, or all of them."""
        with self._lock:
            while self.late and (everything or self.late[0][0] <= time.monotonic()):
                _, request = self.late.pop(0)
                with contextlib.suppress(MlflowException):  # refused, and nobody hears of it
                    request()

    def _carry_out(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, f"_{name}")(*args, **kwargs)

    def _search_experiments(self, view_type: int = ViewType.ACTIVE_ONLY, filter_string: str = "") -> list[Any]:
        return [found for found in self.experiments if _matches(found.tags, filter_string)]

    def _get_experiment_by_name(self, name: str) -> Any:
        return next((found for found in self.experiments if found.name == name), None)

    def _get_experiment(self, experiment_id: str) -> Any:
        [found] = [found for found in self.experiments if found.experiment_id == experiment_id]
        return found

    def _set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self._get_experiment(experiment_id).tags[key] = value

    def _create_experiment(self, name: str, location: str, tags: dict[str, str]) -> str:
        if self._get_experiment_by_name(name) is not None:
            raise MlflowException(f"{name} exists", error_code=RESOURCE_ALREADY_EXISTS)
        number = str(len(self.experiments) + 1)
        self.experiments.append(
            SimpleNamespace(experiment_id=number, name=name, tags=dict(tags), lifecycle_stage="active")
        )
        return number

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        run_view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        page_token: str | None = None,
    ) -> Page:
        stages = {ViewType.ACTIVE_ONLY: ("active",), ViewType.DELETED_ONLY: ("deleted",)}[run_view_type]
        return Page(
            self._view(run)
            for run in self.runs.values()
            if run.experiment_id in experiment_ids
            and run.lifecycle_stage in stages
            and _matches(run.tags, filter_string)
        )

    def _view(self, run: SimpleNamespace) -> SimpleNamespace:
        """A copy, as a server would send it."""
        latest: dict[str, tuple[int, int, float]] = {}
        for key, step, timestamp, value in run.points:
            latest[key] = max(latest.get(key, (-1, -1, 0.0)), (step, timestamp, value))
        info = SimpleNamespace(run_id=run.run_id, status=run.status, start_time=run.start_time, end_time=run.end_time)
        metrics = {key: value for key, (_, _, value) in latest.items()}
        return SimpleNamespace(
            info=info, data=SimpleNamespace(tags=dict(run.tags), params=dict(run.params), metrics=metrics)
        )

    def _create_run(self, experiment_id: str, start_time: int, tags: dict[str, str]) -> Any:
        # Ids do not sort as they were made, like MLflow's.
        run_id = f"{(len(self.runs) * 7919 + 31) % 997:03d}-{len(self.runs)}"
        self.runs[run_id] = SimpleNamespace(
            run_id=run_id,
            experiment_id=experiment_id,
            start_time=start_time,
            end_time=None,
            status="RUNNING",
            lifecycle_stage="active",
            tags=dict(tags),
            params={},
            points=set(),
            inputs={},
            outputs=set(),
        )
        return self._view(self.runs[run_id])

    def _log_batch(
        self, run_id: str, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()
    ) -> None:
        run = self._active(run_id)
        for param in params:
            if run.params.setdefault(param.key, param.value) != param.value:
                raise MlflowException(f"{param.key} cannot change", error_code=INVALID_PARAMETER_VALUE)
        run.points |= {(point.key, point.step, point.timestamp, _one_nan(point.value)) for point in metrics}
        run.tags |= {tag.key: tag.value for tag in tags}

    def _log_inputs(self, run_id: str, datasets: Sequence[Any]) -> None:
        for each in datasets:
            found = each.dataset
            [context] = each.tags
            self._active(run_id).inputs[found.name, found.digest] = context.value, json.loads(found.profile)

    def _create_logged_model(self, experiment_id: str, name: str, source_run_id: str, tags: dict[str, str]) -> Any:
        assert self._active(source_run_id).experiment_id == experiment_id
        model_id = f"m-{len(self.models)}"
        self.models[model_id] = SimpleNamespace(
            model_id=model_id,
            name=name,
            source_run_id=source_run_id,
            tags=dict(tags),
            status="PENDING",
            is_deleted=False,
        )
        return self.models[model_id]

    def _search_logged_models(self, experiment_ids: Sequence[str], page_token: str | None = None) -> Page:
        return Page(SimpleNamespace(**model.__dict__) for model in self.models.values() if not model.is_deleted)

    def _delete_logged_model(self, model_id: str) -> None:
        self.models[model_id].is_deleted = True

    def _finalize_logged_model(self, model_id: str, status: str) -> None:
        self.models[model_id].status = status

    def _log_model_artifacts(self, model_id: str, folder: str) -> None:
        files = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}
        self.artifacts[model_id] = {name: path.read_bytes() for name, path in files.items()}

    def _log_outputs(self, run_id: str, models: Sequence[Any]) -> None:
        self._active(run_id).outputs |= {(model.model_id, model.step) for model in models}

    def _update_run(self, run_id: str, status: str) -> None:
        self._active(run_id).status = status

    def _set_terminated(self, run_id: str, status: str, end_time: int | None = None) -> None:
        run = self._active(run_id)
        run.status, run.end_time = status, end_time or time.time_ns() // 1_000_000

    def _delete_run(self, run_id: str) -> None:
        self.runs[run_id].lifecycle_stage = "deleted"

    def _log_text(self, run_id: str, text: str, name: str) -> None:
        self.artifacts.setdefault(run_id, {})[name] = text.encode()

    def _log_artifacts(self, run_id: str, folder: str) -> None:
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        self.artifacts.setdefault(run_id, {}).update(files)

    def _get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [
            SimpleNamespace(step=step, timestamp=timestamp, value=value)
            for name, step, timestamp, value in self.runs[run_id].points
            if name == key
        ]

    def _active(self, run_id: str) -> SimpleNamespace:
        run = self.runs[run_id]
        if run.lifecycle_stage != "active":
            raise MlflowException(f"{run_id} is deleted", error_code=INVALID_PARAMETER_VALUE)
        return run


class _Client:
    def __init__(self, store: MemoryStore, faults: Iterator[str | None]) -> None:
        self._store = store
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._store.call(name, next(self._faults, None), *args, **kwargs)


def _one_nan(value: float) -> float:
    """So that two NaN are one point."""
    return math.nan if math.isnan(value) else value


def _half(metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()) -> dict[str, Any]:
    """What a server has done of a batch when it dies: parameters go first, tags last."""
    return {"params": params, "metrics": metrics[: len(metrics) // 2]}


def _matches(tags: dict[str, str], filter_string: str) -> bool:
    wanted = re.findall(r"tags\.`(.+?)` = '(.*?)'(?: and |$)", filter_string, re.DOTALL)
    assert bool(wanted) == bool(filter_string)
    return all(tags.get(name) == value for name, value in wanted)
