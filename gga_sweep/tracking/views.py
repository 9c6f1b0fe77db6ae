"""Prepared views of MLflow's page on a sweep.

By itself the page shows, of a thousand runs, the hundred newest, folded under their parent, and no chart. A view says
which runs are shown, in which order, with which columns and charts, and grouped by what.
"""

from __future__ import annotations

from collections.abc import Sequence

from gga_sweep.metrics import DEFAULT_METRIC, METRICS
from gga_sweep.tracking import names
from gga_sweep.tracking.mlflow_api import Experiment, MlflowClient
from gga_sweep.tracking.mlflow_internals import (
    View,
    bar,
    charts,
    line,
    parallel_coordinates,
    param,
    scatter,
    table,
    tag,
)
from gga_sweep.tracking.mlflow_internals import metric as column

_FACTORS = 8
"""Parameters by which arms differ, as columns."""

_AXES = 8
"""Hyperparameters in one chart of parallel coordinates."""

_RUN = (names.PARAM_ARM, names.PARAM_TEST_DOMAINS, names.PARAM_TRIAL_SEED, names.PARAM_DRAW)
_IS_RUN = f"{tag(names.ROLE)} = 'run'"


def views(searched: Sequence[str] = (), varied: Sequence[str] = (), metric: str = DEFAULT_METRIC) -> tuple[View, ...]:
    """All of a sweep.

    Args:
        searched: names of the hyperparameters that its draws differ in.
        varied: names of the parameters by which its arms differ.
        metric: by which its runs are selected.
    """
    return _results(metric), _selected(varied, metric), _all_runs(searched, varied, metric), _not_done()


def write_views(
    client: MlflowClient,
    experiment_id: str,
    searched: Sequence[str],
    varied: Sequence[str] = (),
    metric: str = DEFAULT_METRIC,
) -> None:
    """Write the views that the experiment lacks; the arguments are those of `views`."""
    present = client.get_experiment(experiment_id).tags
    for view in views(searched, varied, metric):
        if present.get(view.tag) != view.text:
            client.set_experiment_tag(experiment_id, view.tag, view.text)


def written_views(experiment: Experiment) -> list[View]:
    """The views that the experiment has."""
    return [view for view in views() if view.tag in experiment.tags]


def _results(metric: str) -> View:
    columns = [
        param(names.PARAM_ARM),
        *map(column, (names.SUMMARY_MEAN, *names.DIFFERENCES, names.SUMMARY_STANDARD_ERROR, names.SUMMARY_N)),
    ]
    search = f"{tag(names.ROLE)} = 'summary' and {tag(names.TEST_DOMAINS)} = '{names.AVERAGE}'"
    state = {
        **table(search, columns, best_first=names.SUMMARY_MEAN),
        **charts(
            {
                f"{METRICS[metric].title} on the test domains": [bar(names.SUMMARY_MEAN)],
                "Difference to the baseline": list(map(bar, names.DIFFERENCES[:3])),
            }
        ),
    }
    return View("gga-sweep-results", "Results", False, state, 0)


def _selected(varied: Sequence[str], metric: str) -> View:
    validation, test = names.selected_keys(metric)
    columns = [
        *map(column, (test, validation, names.SELECTED_STEP)),
        *map(param, (*_RUN, *varied[:_FACTORS])),
    ]
    state = {
        **table(
            f"{tag(names.SELECTED)} = 'true'",
            columns,
            best_first=validation,
            mean_over=names.PARAM_ARM,
        ),
        **charts(
            {
                "At the selected step": [bar(test), bar(validation)],
                "Training": [line(names.val_key(metric)), line("val/loss")],
                "Agreement of gradients": [line("train/agreement_min"), line("annealing/alignment_gain")],
            }
        ),
    }
    return View("gga-sweep-selected", "Selected", True, state, 1)


def _all_runs(searched: Sequence[str], varied: Sequence[str], metric: str) -> View:
    validation, _ = names.selected_keys(metric)
    columns = [
        *map(param, dict.fromkeys((*_RUN, *varied[:_FACTORS], *searched))),
        tag(names.STATUS),
        *map(column, (validation, names.SELECTED_STEP)),
    ]
    axes = searched[:_AXES]
    of_hyperparameters = [scatter(name, validation) for name in axes]
    if axes:
        of_hyperparameters.insert(0, parallel_coordinates(axes, validation))
    state = {
        **table(_IS_RUN, columns, best_first=validation),
        **charts({"Hyperparameters": of_hyperparameters}),
    }
    return View("gga-sweep-runs", "All runs", False, state, 2)


def _not_done() -> View:
    columns = [tag(names.STATUS), tag(names.REASON), *map(param, _RUN)]
    state = table(f"{_IS_RUN} and {tag(names.STATUS)} != 'DONE'", columns)
    return View("gga-sweep-not-done", "Not done", False, state, 3)
