"""What gga-sweep uses of MLflow beyond its documented interface: the state of its page, and settings of its server.

As of the version below. `tests/tracking/test_mlflow_internals.py` looks for each name in the installed MLflow, and
fails if one is gone. A page that does not understand a view says so and shows all runs.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from gga_sweep.tracking.names import LONGEST_VALUE

SEEN_IN = "3.17.2"

SCHEMA_LOGGER = DATABASE_MODULE = "mlflow.store.db.utils"
"""Prints a line for every step in which a database is created."""

SCHEMA_LOGGERS = ("alembic", "sqlalchemy", SCHEMA_LOGGER)
"""Whose levels the creation of a database changes."""

NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Environment of a server that runs no jobs: nothing here needs them, and they take memory."""

QUIET = ("--uvicorn-opts", "--log-level warning")
"""Options of the server's command: its log of requests would push the address off the screen."""

BROWSER_SETTINGS = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.panelOpen_v1": False,
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
}
"""What MLflow's page stores in a browser in which model training was selected and the assistant closed. Without the
first, all pages but those with `workflowType` in their address are of generative AI."""

INDEX_VIEW = "serve"
"""The view of MLflow's Flask application that returns its page."""

SHARED_VIEW = "mlflow.sharedViewState."
"""Tag of an experiment, followed by a key: a view, as the page's "share" button or its menu of views writes it."""


class Schema(NamedTuple):
    """The schema of a database.

    Args:
        present: its revision; None of a database that MLflow has not filled yet.
        expected: the revision that the installed MLflow needs.
        is_known: whether the installed MLflow has the present one, which is then older.
    """

    present: str | None
    expected: str
    is_known: bool


def schema_of(uri: str) -> Schema:
    """The schema of a database, by one connection. Raises what its driver raises."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    import gga_sweep.tracking.mlflow_api  # noqa: F401  it prepares MLflow's import

    utilities = import_module(DATABASE_MODULE)
    scripts = ScriptDirectory.from_config(utilities._get_alembic_config(""))
    engine = utilities.create_sqlalchemy_engine(uri)
    try:
        present = utilities._get_schema_version(engine)
    finally:
        engine.dispose()
    is_known = True
    try:
        scripts.get_revision(present or "base")
    except CommandError:
        is_known = False
    return Schema(present, scripts.get_current_head() or "", is_known)


@dataclass(frozen=True, slots=True)
class View:
    """A prepared view of MLflow's page.

    Args:
        key: in its address.
        heading: of its address.
        opens_charts: whether it opens with charts, rather than with the table of runs.
        state: of the page.
        place: in the page's menu of views, 0 for the first.
    """

    key: str
    heading: str
    opens_charts: bool
    state: Mapping[str, Any]
    place: int = 0

    @property
    def tag(self) -> str:
        return SHARED_VIEW + self.key

    @property
    def text(self) -> str:
        """The tag's value: a saved view, which the page lists by name. Beside it, if it fits, the state as in a shared
        view, which older versions read."""
        packed = base64.b64encode(zlib.compress(_short(self.state).encode())).decode()
        saved = {"name": self.heading, "createdAt": -self.place, "state": f"deflate;{packed}"}
        both = _short(saved | dict(self.state))
        return both if len(both) <= LONGEST_VALUE else _short(saved)

    def address(self, experiment_id: str) -> str:
        """The part of its address after the server's."""
        mode = "&compareRunsMode=CHART" if self.opens_charts else ""
        return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={self.key}&workflowType=machine_learning{mode}"


def _short(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def runs_address(experiment_id: str) -> str:
    """The part after the server's address that leads to the experiment's table of runs."""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def run_address(experiment_id: str, run_id: str) -> str:
    """The part after the server's address that leads to a run's page of model training."""
    return f"/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def metric(name: str) -> str:
    """A metric as a column, or in a filter."""
    return f"metrics.`{name}`"


def param(name: str) -> str:
    return f"params.`{name}`"


def tag(name: str) -> str:
    return f"tags.`{name}`"


_WIDTH = 128
"""Of a metric's column in pixels: shows `difference/mean` whole."""


def table(
    search: str, columns: Sequence[str], best_first: str | None = None, mean_over: str | None = None
) -> dict[str, Any]:
    """The part of a view's state that says which runs the table shows.

    Args:
        search: a filter.
        columns: from `metric`, `param` and `tag`, in order.
        best_first: the metric to sort by, highest first; None: newest first.
        mean_over: runs with equal values of this parameter become one row; None: one row a run.
    """
    state: dict[str, Any] = {
        "searchFilter": search,
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": {column: _WIDTH for column in columns if column.startswith("metrics.")},
    }
    if best_first is not None:
        state |= {"orderByKey": metric(best_first), "orderByAsc": False}
    if mean_over is not None:
        keys = [{"mode": "param", "groupByData": mean_over}]
        state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
    return state


def charts(sections: Mapping[str, Iterable[dict[str, Any]]]) -> dict[str, Any]:
    """The part of a view's state that says which charts it shows, in sections. The page adds charts of all other
    metrics below."""
    shown = [(section, chart) for section, of_section in sections.items() for chart in of_section]
    return {
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,
        "compareRunCharts": [
            {"uuid": f"gga-sweep-{number}", "metricSectionId": section, "deleted": False, "isGenerated": False, **chart}
            for number, (section, chart) in enumerate(shown)
        ],
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": False, "deleted": False, "isGenerated": False}
            for name in sections
        ],
    }


def bar(metric_name: str) -> dict[str, Any]:
    return {"type": "BAR", "runsCountToCompare": 100, "metricKey": metric_name}


def line(metric_name: str) -> dict[str, Any]:
    """Over steps."""
    return {
        "type": "LINE",
        "runsCountToCompare": 100,
        "metricKey": metric_name,
        "selectedMetricKeys": [metric_name],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "lineSmoothness": 0,
        "selectedXAxisMetricKey": "",
        "useGlobalLineSmoothing": True,
        "useGlobalXaxisKey": True,
        "ignoreOutliers": False,
    }


def scatter(param_name: str, metric_name: str) -> dict[str, Any]:
    return {
        "type": "SCATTER",
        "runsCountToCompare": 100,
        "xaxis": {"key": param_name, "type": "PARAM"},
        "yaxis": {"key": metric_name, "type": "METRIC"},
    }


def parallel_coordinates(param_names: Sequence[str], metric_name: str) -> dict[str, Any]:
    return {
        "type": "PARALLEL",
        "runsCountToCompare": 100,
        "selectedParams": list(param_names),
        "selectedMetrics": [metric_name],
        "showAllRuns": True,
    }


def server_environment(host_names: Iterable[str], other_names: Iterable[str], port: int) -> dict[str, str]:
    """Environment of an MLflow server that answers requests to these names alone. Its default list is too narrow for a
    server that other machines may reach, and too wide for any other.

    Args:
        host_names: accepted in a request's `Host`, at any port, since a tunnel has its own.
        other_names: of those, the ones that are not the loopback interface: accepted in a request's `Origin`, too.
    """
    # In a pattern with a star, a bracket would begin a set of characters.
    hosts = {pattern for name in host_names for pattern in (name, f"{name.replace('[', '[[]')}:*")}
    origins = {origin for name in other_names for origin in (f"http://{name}", f"http://{name}:{port}")}
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(sorted(hosts)),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(sorted(origins)),
    }
