"""One run in MLflow: what is known of it, and bringing it up to date. Only what differs is written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gga_sweep.tracking.mlflow_api import Metric, MlflowClient, Param, Run, RunTag, ViewType

_METRICS_A_BATCH = 800  # MLflow takes 1000 metrics, parameters and tags at once
_RUNS_A_PAGE = 200


@dataclass(slots=True)
class TrackedRun:
    """A run as MLflow holds it, as far as we care.

    Args:
        run_id: MLflow's.
        start_time: milliseconds since the epoch; never changes.
        end_time: likewise; None until it has ended once.
        status: MLflow's: RUNNING, FINISHED, FAILED or KILLED.
        tags: as last read or written.
        params: names of the parameters it has; their values never change.
        metrics: the newest value of each.
    """

    run_id: str
    start_time: int
    end_time: int | None
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
        end_time: milliseconds since the epoch, for a status other than RUNNING; None: now, where it had not ended.
    """

    metrics: Sequence[Metric] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None
    end_time: int | None = None


def find_runs(
    client: MlflowClient, experiment_id: str, tag: str, value: str, *, deleted: bool = False
) -> Iterator[TrackedRun]:
    """The experiment's runs with that tag, page by page: those that are there, or those that were deleted."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.`{tag}` = '{value}'",
            run_view_type=ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY,
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


def by_age(run: TrackedRun) -> tuple[int, str]:
    """For sorting: by its start, of those that started at once by id."""
    return run.start_time, run.run_id


def keep_oldest(client: MlflowClient, runs: Iterable[TrackedRun]) -> TrackedRun:
    """Of the runs in one place (at least one; a slow store may have made it twice) the first by age stays; the others
    are deleted."""
    kept, *others = sorted(runs, key=by_age)
    for run in others:
        client.delete_run(run.run_id)
    return kept


def update_run(client: MlflowClient, run: TrackedRun, update: Update) -> bool:
    """Write what `run` lacks; False where that is nothing.

    The tags go last: they say how far it got, so a crash before them repeats the rest.
    """
    params = [Param(name, value) for name, value in update.params.items() if name not in run.params]
    tags = [RunTag(name, value) for name, value in update.tags.items() if run.tags.get(name) != value]
    batches = [update.metrics[i : i + _METRICS_A_BATCH] for i in range(0, len(update.metrics), _METRICS_A_BATCH)]
    *whole, last = batches or [()]
    for batch in whole:
        client.log_batch(run.run_id, metrics=batch)
    status_differs = _write_status(client, run, update)
    if last or params or tags:
        client.log_batch(run.run_id, metrics=last, params=params, tags=tags)
    run.params |= {param.key for param in params}
    run.tags |= {tag.key: tag.value for tag in tags}
    run.metrics |= {metric.key: metric.value for metric in update.metrics}
    return bool(update.metrics or params or tags or status_differs)


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


def _write_status(client: MlflowClient, run: TrackedRun, update: Update) -> bool:
    """Whether there was a need to."""
    ended_otherwise = update.status != "RUNNING" and update.end_time not in (None, run.end_time)
    if update.status is None or (update.status == run.status and not ended_otherwise):
        return False
    if update.status == "RUNNING":
        client.update_run(run.run_id, status="RUNNING")
    else:
        client.set_terminated(run.run_id, update.status, update.end_time)
        run.end_time = update.end_time
    run.status = update.status
    return True


def _tracked(run: Run) -> TrackedRun:
    info, data = run.info, run.data
    return TrackedRun(
        info.run_id, info.start_time, info.end_time, info.status, dict(data.tags), set(data.params), data.metrics
    )
