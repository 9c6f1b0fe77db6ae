"""What an MLflow store shows of a sweep, as plain data that can be compared with another's."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from gga_sweep.tracking import names
from gga_sweep.tracking.mlflow_api import MlflowClient

_ROLES = {"run": names.RUN_KEY, "summary": names.TEST_DOMAINS}


def store_content(uri: str, folder: Path, *, volatile: bool = False) -> dict[str, Any]:
    """As `content_of`, of a store's URI."""
    return content_of(MlflowClient(uri), folder, volatile=volatile)


def content_of(client: MlflowClient, folder: Path, *, volatile: bool = False) -> dict[str, Any]:
    """All that a store shows of one sweep.

    Args:
        client: of the store.
        folder: of the sweep, STORAGE/SWEEP; by it the sweep is known.
        volatile: with what differs between two sweeps that trained the same runs: starts, ends and seconds spent.

    Returns:
        `parent`: its status and tags; None if there is none. `children` by (arm, key) and `summaries` by (arm, test
        domains): status, parameters, tags, and of every metric its points (step, seconds after the run's start, value)
        in order, with "nan" for NaN. `faults`: in words, what stands twice or hangs on no parent; empty in a good
        store. Of places that hold several runs the first found is shown.
    """
    experiments = client.search_experiments(filter_string=f"tags.`{names.FOLDER}` = '{folder.absolute().as_uri()}'")
    runs = [run for experiment in experiments for run in _runs(client, experiment.experiment_id)]
    faults = [f"{len(experiments)} experiments"] if len(experiments) > 1 else []
    parents = [run for run in runs if run.data.tags.get(names.ROLE) == "sweep"]
    if len(parents) > 1:
        faults.append(f"{len(parents)} parents")
    shown: dict[str, dict[tuple[str, str], Any]] = {role: {} for role in _ROLES}
    for run in runs:
        role = run.data.tags.get(names.ROLE)
        if role not in _ROLES:
            continue
        place = (run.data.tags[names.ARM], run.data.tags[_ROLES[role]])
        if place in shown[role]:
            faults.append(f"{role} {place} twice")
        if run.data.tags.get(names.PARENT) not in {parent.info.run_id for parent in parents}:
            faults.append(f"{role} {place} without a parent")
        content = _run_content(client, run, volatile and role == "run")
        faults += [f"{role} {place}: {fault}" for fault in _doubled_points(content)]
        shown[role].setdefault(place, content)
    parent = {"status": parents[0].info.status, "tags": _tags(parents[0], volatile)} if parents else None
    return {"parent": parent, "children": shown["run"], "summaries": shown["summary"], "faults": faults}


def _runs(client: MlflowClient, experiment_id: str) -> list[Any]:
    runs, token = [], None
    while True:
        page = client.search_runs([experiment_id], max_results=500, page_token=token)
        runs += list(page)
        token = page.token
        if not token:
            return runs


def _run_content(client: MlflowClient, run: Any, volatile: bool) -> dict[str, Any]:
    start = run.info.start_time
    content = {
        "status": run.info.status,
        "params": dict(run.data.params),
        "tags": _tags(run, volatile),
        "metrics": {
            key: sorted(
                (point.step, round((point.timestamp - start) / 1000), _comparable(point.value))
                for point in client.get_metric_history(run.info.run_id, key)
            )
            for key in sorted(run.data.metrics)
            if volatile or not key.startswith("seconds/")
        },
    }
    if volatile:
        content |= {"start": start, "end": run.info.end_time}
    return content


def _tags(run: Any, volatile: bool) -> dict[str, str]:
    """Ours; without `volatile`, those that follow from the ledger's numbers alone. An empty one counts as missing."""
    ours = {key: value for key, value in run.data.tags.items() if key.startswith(names.PREFIX) and value}
    return ours if volatile else {key: value for key, value in ours.items() if key not in (names.LEDGER, names.ATTEMPT)}


def _comparable(value: float) -> float | str:
    return "nan" if math.isnan(value) else value


def _doubled_points(content: dict[str, Any]) -> list[str]:
    return [
        f"{number} points of {key} at step {step}"
        for key, points in content["metrics"].items()
        for step, number in Counter(point[0] for point in points).items()
        if number > 1
    ]
