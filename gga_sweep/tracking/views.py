"""Prepared views of MLflow's page on a sweep.

By itself the page shows of a thousand runs the hundred youngest, folded under their parent, and no chart. A view holds
what one would set by hand: which runs, in which order, which columns and charts, grouped by what. It is a tag of the
experiment, as the page's own "share" button writes it, and an address that names it opens it. MLflow documents neither;
these are as its version 3.17 reads them, and a page that does not understand one says so and shows all runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gga_sweep.tracking import names
from gga_sweep.tracking.mlflow_api import Experiment, MlflowClient

_AXES = 8
"""Hyperparameters in one chart of parallel coordinates."""

_RUN = (names.PARAM_ARM, names.PARAM_TEST_DOMAINS, names.PARAM_TRIAL_SEED, names.PARAM_DRAW)


@dataclass(frozen=True, slots=True)
class View:
    """One view.

    Args:
        key: in its address.
        heading: of its address.
        charts: whether it opens with charts, rather than with the table of runs.
        state: of the page.
    """

    key: str
    heading: str
    charts: bool
    state: Mapping[str, Any]

    @property
    def tag(self) -> str:
        return names.SHARED_VIEW + self.key

    def address(self, experiment_id: str) -> str:
        """What follows the server's."""
        mode = "&compareRunsMode=CHART" if self.charts else ""
        return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={self.key}&workflowType=machine_learning{mode}"


def views(searched: Sequence[str] = ()) -> tuple[View, ...]:
    """All of a sweep.

    Args:
        searched: names of the hyperparameters that its draws differ in.
    """
    best_first = {"orderByKey": _metric(names.SELECTED_VAL_ACCURACY), "orderByAsc": False}
    return (
        View(
            "gga-sweep-results",
            "Results",
            True,
            {
                "searchFilter": f"{_tag(names.ROLE)} = 'summary' and {_tag(names.TEST_DOMAINS)} = '{names.AVERAGE}'",
                "orderByKey": _metric(names.SUMMARY_MEAN),
                "orderByAsc": False,
                "selectedColumns": [
                    _param(names.PARAM_ARM),
                    *map(_metric, (names.SUMMARY_MEAN, names.SUMMARY_STANDARD_ERROR, names.SUMMARY_N)),
                ],
                **_charts({"Accuracy on the test domains": [_bar(names.SUMMARY_MEAN)]}),
            },
        ),
        View(
            "gga-sweep-selected",
            "Selected",
            True,
            {
                "searchFilter": f"{_tag(names.SELECTED)} = 'true'",
                **best_first,
                "selectedColumns": [
                    *map(_param, _RUN),
                    *map(_metric, (names.SELECTED_VAL_ACCURACY, names.SELECTED_TEST_ACCURACY, names.SELECTED_STEP)),
                ],
                "groupBy": {
                    "aggregateFunction": "average",
                    "groupByKeys": [{"mode": "param", "groupByData": names.PARAM_ARM}],
                },
                **_charts(
                    {
                        "At the selected step": [_bar(names.SELECTED_TEST_ACCURACY), _bar(names.SELECTED_VAL_ACCURACY)],
                        "Training": [_line(names.VAL_ACCURACY), _line("val/loss")],
                        "Agreement of gradients": [_line("train/agreement_min"), _line("annealing/alignment_gain")],
                    }
                ),
            },
        ),
        View(
            "gga-sweep-runs",
            "All runs",
            False,
            {
                "searchFilter": f"{_tag(names.ROLE)} = 'run'",
                **best_first,
                "selectedColumns": [
                    *map(_param, (*_RUN, *searched)),
                    _tag(names.STATUS),
                    *map(_metric, (names.SELECTED_VAL_ACCURACY, names.SELECTED_STEP)),
                ],
                **_charts({"Hyperparameters": _of_hyperparameters(searched)}),
            },
        ),
        View(
            "gga-sweep-not-done",
            "Not done",
            False,
            {
                "searchFilter": f"{_tag(names.ROLE)} = 'run' and {_tag(names.STATUS)} != 'DONE'",
                "selectedColumns": [_tag(names.STATUS), _tag(names.REASON), *map(_param, _RUN)],
            },
        ),
    )


def write_views(client: MlflowClient, experiment_id: str, searched: Sequence[str]) -> None:
    """Write what the experiment lacks: the views, and a description with links to them, unless it has one."""
    present = client.get_experiment(experiment_id).tags
    wanted = {view.tag: _compact(view.state) for view in views(searched)}
    if names.NOTE not in present:
        wanted[names.NOTE] = description(experiment_id)
    for tag, value in wanted.items():
        if present.get(tag) != value:
            client.set_experiment_tag(experiment_id, tag, value)


def description(experiment_id: str) -> str:
    """Where to look: Markdown, on one line, which is all that the page shows of it at first."""
    links = " \N{MIDDLE DOT} ".join(f"[{view.heading}](.{view.address(experiment_id)})" for view in views())
    return f"A sweep of gga-sweep: {links} \N{MIDDLE DOT} tables and plots are artifacts of the parent of its runs."


def written_views(experiment: Experiment) -> list[View]:
    """Those that the experiment has."""
    return [view for view in views() if view.tag in experiment.tags]


def _charts(sections: Mapping[str, Iterable[dict[str, Any]]]) -> dict[str, Any]:
    """The page adds charts of all other metrics below."""
    charts = [(section, chart) for section, of_section in sections.items() for chart in of_section]
    return {
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,
        "compareRunCharts": [
            {"uuid": f"gga-sweep-{number}", "metricSectionId": section, "deleted": False, "isGenerated": False, **chart}
            for number, (section, chart) in enumerate(charts)
        ],
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": False, "deleted": False, "isGenerated": False}
            for name in sections
        ],
    }


def _of_hyperparameters(searched: Sequence[str]) -> list[dict[str, Any]]:
    every = {
        "type": "PARALLEL",
        "runsCountToCompare": 100,
        "selectedParams": list(searched[:_AXES]),
        "selectedMetrics": [names.SELECTED_VAL_ACCURACY],
        "showAllRuns": True,
    }
    each = [
        {
            "type": "SCATTER",
            "runsCountToCompare": 100,
            "xaxis": {"key": name, "type": "PARAM"},
            "yaxis": {"key": names.SELECTED_VAL_ACCURACY, "type": "METRIC"},
        }
        for name in searched[:_AXES]
    ]
    return [every, *each] if searched else []


def _bar(metric: str) -> dict[str, Any]:
    return {"type": "BAR", "runsCountToCompare": 100, "metricKey": metric}


def _line(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "runsCountToCompare": 100,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
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


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _param(name: str) -> str:
    return f"params.`{name}`"


def _tag(name: str) -> str:
    return f"tags.`{name}`"


def _compact(state: Mapping[str, Any]) -> str:
    """A tag of an experiment holds 5,000 characters."""
    return json.dumps(state, separators=(",", ":"))
