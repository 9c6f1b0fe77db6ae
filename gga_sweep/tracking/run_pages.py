"""Where MLflow's own pages of the runs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from gga_sweep.spec.plan import PlannedRun
from gga_sweep.tracking.mlflow_internals import run_address
from gga_sweep.tracking.projection import Projection
from gga_sweep.tracking.tracking_uri import SERVERS

LOCAL_SERVER = "http://127.0.0.1:5000"
"""Where `gga-sweep ui` serves a store without a server, unless it is given another port."""


def run_pages(projection: Projection, uri: str, runs: Mapping[str, Sequence[PlannedRun]]) -> dict[str, str]:
    """The address of the page of each run that the store shows, by the run's folder.

    Args:
        projection: knows what the store shows.
        uri: of the store.
        runs: by folder; of several arms that share a run, the first one's page.
    """
    server = server_address(uri)
    shown = {folder: projection.runs.get((shared[0].cell.arm, shared[0].key)) for folder, shared in runs.items()}
    return {folder: server + run_address(projection.experiment_id, run.run_id) for folder, run in shown.items() if run}


def server_address(uri: str) -> str:
    """Of the server whose pages show the store, without a user's name or password."""
    parts = urlsplit(uri)
    if parts.scheme not in SERVERS:
        return LOCAL_SERVER
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
