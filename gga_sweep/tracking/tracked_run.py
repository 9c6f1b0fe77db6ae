"""One run in MLflow: what is known of it, and bringing it up to date. Only what differs is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gga_sweep.tracking.mlflow_api import Metric, MlflowClient, Param, Run, RunTag, ViewType

_METRICS_A_BATCH = 800  # MLflow takes 1000 metrics, parameters and tags at once
_RUNS_A_PAGE = 500


@dataclass(slots=True)
class TrackedRun:
    """A run as MLflow holds it, as far as we care.

    Args:
        run_id: MLflow's.
        status: MLflow's: RUNNING, FINISHED, FAILED or KILLED.
        tags: as last read or written.
        params: names of the parameters it has; their values never change.
        metrics: the newest value of each.
    """

    run_id: str
    status: str
    tags: dict[str, str]
    params: set[str] = field(default_factory=set)
    metrics: dict[str, float] = field(default_factory=dict)

    def count(self, tag: str) -> int:
        """A tag that holds a number; 0 when the run lacks it."""
        return int(self.tags.get(tag, "0"))


@dataclass(frozen=True, slots=True)
class Update:
    """What a run should show.

    Args:
        metrics: values at a step; (key, step, timestamp) names a point, and a point written twice is stored once.
        params: written where the run lacks them.
        tags: written where they differ.
        status: MLflow's; None leaves it.
        end_time: milliseconds since the epoch, for a status other than RUNNING.
    """

    metrics: Sequence[Metric] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None
    end_time: int | None = None


def find_runs(client: MlflowClient, experiment_id: str, tag: str, value: str) -> Iterator[TrackedRun]:
    """The experiment's runs with that tag, deleted ones apart, page by page."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.`{tag}` = '{value}'",
            run_view_type=ViewType.ACTIVE_ONLY,
            max_results=_RUNS_A_PAGE,
            page_token=token,
        )
        yield from map(_tracked, page)
        token = page.token
        if not token:
            return


def create_run(client: MlflowClient, experiment_id: str, tags: Mapping[str, str], start_time: int) -> TrackedRun:
    """A new run, RUNNING. `start_time`: milliseconds since the epoch."""
    return _tracked(client.create_run(experiment_id, start_time=start_time, tags=dict(tags)))


def update_run(client: MlflowClient, run: TrackedRun, update: Update) -> None:
    """Write what `run` lacks. The tags go last: they say how far it got, so a crash before them repeats the rest."""
    params = [Param(name, value) for name, value in update.params.items() if name not in run.params]
    tags = [RunTag(name, value) for name, value in update.tags.items() if run.tags.get(name) != value]
    batches = [update.metrics[i : i + _METRICS_A_BATCH] for i in range(0, len(update.metrics), _METRICS_A_BATCH)]
    *whole, last = batches or [()]
    for batch in whole:
        client.log_batch(run.run_id, metrics=batch)
    if update.status not in (None, run.status):
        if update.status == "RUNNING":
            client.update_run(run.run_id, status="RUNNING")
        else:
            client.set_terminated(run.run_id, update.status, update.end_time)
        run.status = str(update.status)
    if last or params or tags:
        client.log_batch(run.run_id, metrics=last, params=params, tags=tags)
    run.params |= {param.key for param in params}
    run.tags |= {tag.key: tag.value for tag in tags}
    run.metrics |= {metric.key: metric.value for metric in update.metrics}


def metrics_at(values: Mapping[str, float], step: int, start_time: float) -> list[Metric]:
    """Points of a run at a step. Their timestamp is the run's start plus a second a step, so that a replay, whenever
    it happens, stores nothing twice.

    Args:
        values: infinite ones become NaN: MLflow would store them as 1.8e308.
        start_time: seconds since the epoch.
    """
    timestamp = int((start_time + step) * 1000)
    return [
        Metric(key, float(value) if math.isfinite(value) else math.nan, timestamp, step)
        for key, value in values.items()
    ]


def _tracked(run: Run) -> TrackedRun:
    return TrackedRun(run.info.run_id, run.info.status, dict(run.data.tags), set(run.data.params), run.data.metrics)
