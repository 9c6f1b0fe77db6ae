"""One run in MLflow: find, create and update it. Only what differs is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gga_sweep.tracking.mlflow_api import Metric, MlflowClient, Param, Run, RunTag

_METRICS_A_BATCH = 800  # MLflow accepts 1000 metrics, parameters and tags in one request
_RUNS_A_PAGE = 200


@dataclass(slots=True)
class TrackedRun:
    """A run as MLflow holds it.

    Args:
        run_id: MLflow's.
        start_time: milliseconds since the epoch; never changes.
        end_time: likewise; None until it has ended once.
        status: MLflow's: RUNNING, FINISHED, FAILED or KILLED.
        tags: as last read or written.
        logged: how many evaluations and annealed steps this process has logged; None of a run found in the store.
    """

    run_id: str
    start_time: int
    end_time: int | None
    status: str
    tags: dict[str, str]
    logged: tuple[int, int] | None = None


def search_runs(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """The experiment's runs with all these tags, page by page. Deleted runs are left out."""
    filter_string = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    token = None
    while True:
        page = client.search_runs([experiment_id], filter_string, max_results=_RUNS_A_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def find_runs(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> Iterator[TrackedRun]:
    """As `search_runs`, without parameters and metrics."""
    return map(_tracked, search_runs(client, experiment_id, tags))


def create_run(client: MlflowClient, experiment_id: str, tags: Mapping[str, str], start_time: int) -> TrackedRun:
    """A new run, RUNNING. `start_time`: milliseconds since the epoch."""
    return _tracked(client.create_run(experiment_id, start_time=start_time, tags=dict(tags)))


def update_run(
    client: MlflowClient,
    run: TrackedRun,
    *,
    points: Sequence[Metric] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    status: str | None = None,
    end_time: int | None = None,
) -> bool:
    """Write what `run` lacks. The tags are written last: they say that everything before them is complete.

    Args:
        points: (key, step, timestamp, value) each; MLflow stores equal ones once.
        params: written as they are.
        tags: written where they differ.
        status: MLflow's, written where it differs; None leaves it.
        end_time: milliseconds since the epoch, for a status other than RUNNING; None: now, if it had not ended.

    Returns:
        Whether anything was written.
    """
    new_params = [Param(name, value) for name, value in (params or {}).items()]
    new_tags = [RunTag(name, value) for name, value in (tags or {}).items() if run.tags.get(name) != value]
    *whole, last = [points[i : i + _METRICS_A_BATCH] for i in range(0, len(points), _METRICS_A_BATCH)] or [()]
    for batch in whole:
        client.log_batch(run.run_id, metrics=batch)
    status_differs = status is not None and _write_status(client, run, status, end_time)
    if last or new_params or new_tags:
        client.log_batch(run.run_id, metrics=last, params=new_params, tags=new_tags)
    run.tags |= {tag.key: tag.value for tag in new_tags}
    return bool(points or new_params or new_tags or status_differs)


def _write_status(client: MlflowClient, run: TrackedRun, status: str, end_time: int | None) -> bool:
    """Whether status or end differed."""
    ended_otherwise = status != "RUNNING" and end_time not in (None, run.end_time)
    if status == run.status and not ended_otherwise:
        return False
    if status == "RUNNING":
        client.update_run(run.run_id, status=status)
    else:
        client.set_terminated(run.run_id, status, end_time)
        run.end_time = end_time
    run.status = status
    return True


def _tracked(run: Run) -> TrackedRun:
    info = run.info
    return TrackedRun(info.run_id, info.start_time, info.end_time, info.status, dict(run.data.tags))
