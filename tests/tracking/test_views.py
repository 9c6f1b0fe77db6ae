"""Prepared views of the page: what they show is what the store holds."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

import pytest
from invented_ledger import finish, invented_report, show

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunStatus
from gga_sweep.spec import Plan
from gga_sweep.tracking.mlflow_api import MlflowClient, Run
from gga_sweep.tracking.mlflow_internals import View
from gga_sweep.tracking.names import NOTE
from gga_sweep.tracking.projection import Projection
from gga_sweep.tracking.sweep_outcome import publish_outcome
from gga_sweep.tracking.views import views, write_views, written_views

LONGEST_TAG = 5000
"""Of an experiment (mlflow/utils/validation.py)."""


@pytest.fixture
def projection(uri: str, plan: Plan, ledger: Ledger) -> Projection:
    """Of a sweep with one failed run, all others done, and its outcome."""
    projection = Projection(MlflowClient(uri), plan.sweep, ledger, live=False)
    failed, *done = plan.runs
    finish(ledger, failed, RunStatus.FAILED)
    for run in done:
        finish(ledger, run)
    for run in plan.runs:
        show(projection, run, ledger)
    publish_outcome(projection, plan.runs, invented_report(plan, ledger))
    projection.write_sweep(list(plan.runs[0].hyperparameters))
    return projection


def tags_of(projection: Projection) -> dict[str, str]:
    tags: dict[str, str] = projection.client.get_experiment(projection.experiment_id).tags
    return tags


def opened(projection: Projection, view: View) -> tuple[dict[str, Any], list[Run]]:
    """The state that the page reads, and the runs that it then finds."""
    state = json.loads(tags_of(projection)[view.tag])
    form, _, packed = state["state"].partition(";")
    assert (state["name"], form) == (view.heading, "deflate")
    inner = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert state == inner | {name: state[name] for name in ("name", "createdAt", "state")}  # also for older pages
    state = inner
    order = [f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"] if "orderByKey" in state else None
    return state, list(projection.client.search_runs([projection.experiment_id], state["searchFilter"], order_by=order))


def test_each_view_finds_its_runs_the_best_first(projection: Projection, plan: Plan) -> None:
    results, selected, every, not_done = (opened(projection, view)[1] for view in views())
    assert {run.data.params["arm"] for run in results} == {arm.name for arm in plan.sweep.arms}
    assert all(run.data.params["test_domains"] == "(average)" for run in results)
    assert len(results) == len(plan.sweep.arms)
    assert {run.data.tags["gga_sweep.selected"] for run in selected} == {"true"}
    assert len(every) == len(plan.runs)
    accuracies = [run.data.metrics["selected/val_accuracy"] for run in every[:-1]]  # the failed one has none
    assert accuracies == sorted(accuracies, reverse=True)
    [failed] = not_done
    assert failed.data.tags["gga_sweep.key"] == plan.runs[0].key


def test_every_column_group_and_chart_is_of_something_that_a_run_has(projection: Projection) -> None:
    runs = list(projection.client.search_runs([projection.experiment_id]))
    params = {name for run in runs for name in run.data.params}
    metrics = {name for run in runs for name in run.data.metrics}
    tags = {name for run in runs for name in run.data.tags} | {"gga_sweep.reason"}  # the failed run gives none
    known = {"params": params, "metrics": metrics, "tags": tags}
    for view in views():
        state, _ = opened(projection, view)
        for column in state["selectedColumns"]:
            kind, name = re.fullmatch(r"(\w+)\.`(.+)`", column).groups()  # type: ignore[union-attr]
            assert name in known[kind], column
        for key in state.get("groupBy", {}).get("groupByKeys", []):
            assert key["groupByData"] in params
        sections = {section["uuid"] for section in state.get("compareRunSections", [])}
        for chart in state.get("compareRunCharts", []):
            assert chart["metricSectionId"] in sections
            assert {chart[name] for name in ("metricKey",) if name in chart} <= metrics
            assert set(chart.get("selectedParams", [])) <= params
            assert set(chart.get("selectedMetrics", [])) <= metrics


def test_the_menu_lists_the_views_in_order() -> None:
    times = [json.loads(view.text)["createdAt"] for view in views()]
    assert times == sorted(set(times), reverse=True)  # the page lists the newest first


def test_the_charts_of_hyperparameters_are_of_the_searched_ones() -> None:
    def axes(*searched: str) -> list[list[str]]:
        [view] = [view for view in views(searched) if view.heading == "All runs"]
        charts = view.state["compareRunCharts"]
        return [chart.get("selectedParams") or [chart["xaxis"]["key"]] for chart in charts]

    assert axes() == []
    assert axes("lr", "annealing.radius") == [["lr", "annealing.radius"], ["lr"], ["annealing.radius"]]


def test_what_arms_differ_in_is_a_column() -> None:
    _, selected, every, _ = views(["lr"], ["annealing.method", "lr"])
    assert "params.`annealing.method`" in selected.state["selectedColumns"]
    assert [every.state["selectedColumns"].count(f"params.`{name}`") for name in ("annealing.method", "lr")] == [1, 1]


def test_a_view_of_many_hyperparameters_fits_into_a_tag() -> None:
    searched = [f"annealing.a_hyperparameter_{number}" for number in range(30)]
    assert all(len(view.text) <= LONGEST_TAG for view in views(searched))
    assert [set(json.loads(view.text)) == {"name", "createdAt", "state"} for view in views(searched)].count(True) == 1


def test_views_follow_the_sweep_and_an_edited_description_stays(projection: Projection) -> None:
    client, number = projection.client, projection.experiment_id
    before = tags_of(projection)
    assert written_views(client.get_experiment(number)) == list(views())
    for view in views():
        assert f"(.{view.address(number)})" in before[NOTE]
    assert client.get_run(projection.parent.run_id).data.tags[NOTE] == before[NOTE]
    client.set_experiment_tag(number, NOTE, "ours")
    client.set_tag(projection.parent.run_id, NOTE, "ours")
    Projection(client, projection.sweep, projection.ledger).write_sweep(["lr", "another"])
    after = tags_of(projection)
    assert after[NOTE] == client.get_run(projection.parent.run_id).data.tags[NOTE] == "ours"
    assert {tag for tag in before if before[tag] != after[tag]} == {NOTE, "mlflow.sharedViewState.gga-sweep-runs"}


def test_an_experiment_without_views_has_none(uri: str) -> None:
    client = MlflowClient(uri)
    number = client.create_experiment("demo")
    assert written_views(client.get_experiment(number)) == []
    write_views(client, number, [])
    assert written_views(client.get_experiment(number)) == list(views())


def test_views_sort_and_draw_by_the_sweeps_metric() -> None:
    plain, found = (
        "".join(json.dumps(view.state) for view in views(["lr"], metric=name)) for name in ("accuracy", "auroc")
    )
    assert "accuracy" not in found.lower()
    assert found == plain.replace("accuracy", "auroc").replace("Accuracy", "AUROC")
