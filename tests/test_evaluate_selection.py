"""Sweeps with `training.evaluate: selection`: they select and report what sweeps that evaluate everything do."""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from small_sweep import small_sweep

from gga_sweep.api import SweepResult
from gga_sweep.domainbed.export import export_domainbed
from gga_sweep.errors import InputError
from gga_sweep.execution.open_run import open_run
from gga_sweep.execution.predictions import predict
from gga_sweep.execution.prepare import prepare_ledger, require_writable
from gga_sweep.execution.verify import verify
from gga_sweep.ledger.index import read_through
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.report.files import FORMATS, render
from gga_sweep.report.make_report import ReportOptions, make_report
from gga_sweep.report.plots.steps import accuracy_over_steps, alignment_over_steps
from gga_sweep.scheduling.next_runs import EndedEarly, NextRuns
from gga_sweep.selection.methods.leave_one_out import METHOD as LEAVE_ONE_OUT
from gga_sweep.spec import load
from gga_sweep.tracking.points import run_points

STOPPING = {"reduction_factor": 2, "grace_period": 6}
SWEEPS: dict[str, dict[str, Any]] = {
    "quick, with the oracle": {"selection": ["training-domain-validation", "oracle"]},
    "shared draws by macro F1": {"protocol": "shared-hp", "metric": "macro_f1", "test_domains": ["north", "south"]},
    "after the window": {"select_from": "after-window", "protocol": "domainbed-head"},
    "averaged weights": {"training": {"averaging": {"method": "swad", "n_converge": 2}}},
    "the paper's protocol": {"protocol": "gga-paper", "defaults": {"lr": 1e-2, "batch_size": 4}},
    "an adaptive search with early stopping": {
        "search": "tpe",
        "draws": 4,
        "adaptive": {"n_startup_trials": 2},
        "early_stopping": STOPPING,
    },
    "early stopping by AUROC after the window": {
        "select_from": "after-window",
        "draws": 4,
        "early_stopping": STOPPING,
        "metric": "auroc",
    },
}
ARMS = [
    {"algorithm": "ERM"},
    {"algorithm": "ERM", "annealing": {"start_step": 2, "num_steps": 2, "num_candidates": 3}},
    {"algorithm": "CORAL", "annealing": {"variant": "guided", "start_step": 2, "num_steps": 2}},
]


def swept(storage: Path, evaluate: str, **changes: Any) -> SweepResult:
    """Train a sweep to its end in this process, each run as the launch would choose and end it."""
    training = {
        "steps": 12,
        "evaluate_every": 1,
        "network": "small_runs:linear_featurizer",
        "weights": "random",
        "augmentation": "none",
    }
    content: dict[str, Any] = {
        "arms": ARMS,
        "draws": 2,
        "test_domains": ["north"],
        "search_space": {"lr": {"loguniform": [1e-3, 1e-1]}, "annealing.radius": {"loguniform": [1e-4, 1e-2]}},
        **changes,
    }
    content["training"] = {**training, **content.get("training", {}), "evaluate": evaluate}
    sweep = load(small_sweep(**content), storage=storage / evaluate)
    require_writable(sweep.storage)
    contents = prepare_ledger(sweep)
    ledger = Ledger(sweep.folder)
    source = NextRuns(sweep, contents, ledger)
    while (following := source.take()) is not None:
        ends = EndedEarly(following.cutoffs, following.first_step, sweep.config.metric)
        run = open_run(following.run, ledger, sweep.storage, contents.dataset, on_gpu=False, reason_to_end=ends)
        while run.advance().status is RunStatus.RUNNING:
            pass
        source.ended(following.run.key)
    plan = read_plan(sweep.folder)
    return SweepResult(plan, ledger, make_report(plan, ledger), {}, "sqlite:///nowhere", tracked=True, stopped=None)


def selected(result: SweepResult, method: str) -> list[tuple[Any, ...]]:
    """All of a selection but the keys."""
    names = [field.name for field in fields(result.selected()[0]) if field.name not in ("key", "folder")]
    return [tuple(getattr(one, name) for name in names) for one in result.selected(method)]


def numbers(result: SweepResult) -> list[dict[str, str]]:
    """The long table, without device time, keys and folders."""
    rows = csv.DictReader(io.StringIO(render("csv", result.report, result.ledger)))
    left_out = {"cost", "search-budget"}
    kept = (row for row in rows if row["kind"] not in left_out)
    return [{name: value for name, value in row.items() if name not in ("key", "folder")} for row in kept]


def ends(result: SweepResult) -> dict[Any, Any]:
    """What each draw drew, and how it ended."""
    metric = result.report.view.metric
    return {
        (run.cell, run.draws): (run.hyperparameters, run.status, run.reason, run.validation_means(metric), run.searches)
        for run in result.records
    }


@pytest.mark.parametrize("name", SWEEPS)
def test_selected_runs_draws_and_all_reported_numbers_are_those_of_whole_evaluations(name: str, tmp_path: Path) -> None:
    whole, found = (swept(tmp_path, evaluate, **SWEEPS[name]) for evaluate in ("all", "selection"))
    assert ends(found) == ends(whole)
    for method in found.plan.sweep.selection:
        assert selected(found, method) == selected(whole, method)
        assert selected(found, method)
        assert found.table(method).rows == whole.table(method).rows
    assert numbers(found) == numbers(whole)
    assert found.report.comparison.selected == whole.report.comparison.selected
    assert found.report.comparison.matched == whole.report.comparison.matched
    if "early_stopping" in SWEEPS[name]:
        assert {run.status for run in found.records} == {RunStatus.DONE, RunStatus.STOPPED}
    trained = found.report.view.trained_runs
    assert sum(bool(each.test.domains) for run in trained for each in run.records) < sum(
        len(run.records) for run in trained
    )


@pytest.fixture(scope="module")
def thrifty(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    arms = [{**ARMS[1], "annealing": {**ARMS[1]["annealing"], "diagnose_every": 2}}]  # type: ignore[dict-item]
    return swept(tmp_path_factory.mktemp("thrifty"), "selection", arms=[ARMS[0], *arms])


def run_with_gaps(result: SweepResult) -> RunRecords:
    """A run with an evaluation that lacks the test domain."""
    return next(run for run in result.records if not all(record.test.domains for record in run.records))


def test_every_format_is_written_and_what_was_not_measured_is_absent(thrifty: SweepResult) -> None:
    report = thrifty.report
    for name in FORMATS:
        assert render(name, report, thrifty.ledger)
    text = render("text", report, thrifty.ledger)
    assert "the other gains were not measured (annealing.diagnose_every)" in " ".join(text.split())
    rows = [row for row in numbers(thrifty) if row["kind"] == "annealing-measured"]
    measured = {row["quantity"]: int(row["value"]) for row in rows}
    assert measured["gain_under_search"] == 2 * 2
    assert measured["gain_under_fresh_masks"] == measured["gain_on_next_minibatches"] == 2
    assert not [row for row in numbers(thrifty) if row["kind"] == "annealing-left-out" and int(row["value"])]


def test_rows_by_step_are_empty_where_nothing_was_evaluated(thrifty: SweepResult) -> None:
    run = run_with_gaps(thrifty)
    rows = thrifty.dataframe("step")
    rows = rows[rows.folder == run.folder]
    tested = [bool(record.test.domains) for record in run.records]
    assert rows.test_accuracy.notna().tolist() == rows.test_loss.notna().tolist() == tested
    assert rows.validation_accuracy.notna().all()
    assert rows[["train_accuracy", "train_loss", "alignment", "mean_alignment"]].isna().all(axis=None)
    assert thrifty.dataframe("run").test_accuracy.notna().all()


def test_curves_of_test_domains_and_of_alignment_are_left_out(thrifty: SweepResult) -> None:
    view, table = thrifty.report.view, thrifty.table()
    figure = accuracy_over_steps(view, table)
    assert figure is not None
    assert len(figure.axes) == 1
    assert alignment_over_steps(view, table) is None


def test_mlflow_gets_the_metrics_that_were_measured_and_no_nan(thrifty: SweepResult) -> None:
    run = run_with_gaps(thrifty)
    planned = next(one for one in thrifty.plan.runs if one.folder == run.folder)
    points = run_points(planned, run.result, 0.0)
    steps = [record.step for record in run.records if record.test.domains]
    assert [point.step for point in points if point.key == "test/accuracy/north"] == steps
    assert [point.step for point in points if point.key == "val/accuracy"] == list(range(12))
    assert {point.step for point in points if point.key == "test/validation_accuracy/north"} == {11}
    assert not [point for point in points if point.key.startswith(("train/accuracy", "train/agreement"))]
    assert not [point for point in points if point.value != point.value]
    assert [point for point in points if point.key == "selected/test_accuracy"]


def test_the_ledger_is_whole_and_its_index_gives_the_same(thrifty: SweepResult) -> None:
    assert verify(thrifty.ledger).findings == ()
    for _ in range(2):  # from the folders, then from the index
        results = read_through(thrifty.ledger.store, [run.folder for run in thrifty.records])
        for run in thrifty.records:
            assert results[run.folder].records == run.records == thrifty.ledger.run(run.folder).read_records()
            assert results[run.folder].searches == run.searches


def test_predictions_are_compared_with_what_was_recorded(thrifty: SweepResult) -> None:
    run = thrifty.records[0]
    found = predict(thrifty.ledger.run(run.folder))
    assert found.largest_difference == 0
    recorded = {(part.role, part.split): part.recorded for part in found.parts}
    assert recorded["training", "train"] is None
    assert recorded["training", "validation"] is not None
    assert recorded["test", "train"] is not None


def test_a_method_that_needs_more_is_refused_when_it_is_asked_for_later(thrifty: SweepResult) -> None:
    with pytest.raises(InputError, match="reads scores on test domains at every evaluation"):
        make_report(thrifty.plan, thrifty.ledger, ReportOptions(selection=[LEAVE_ONE_OUT.name]))
    with pytest.raises(InputError, match=r"--select-from.*training.evaluate: selection left out.*after-window"):
        make_report(thrifty.plan, thrifty.ledger, ReportOptions(select_from="after-window"))
    run = run_with_gaps(thrifty)
    with pytest.raises(InputError, match="needs the scores on north at every evaluation"):
        LEAVE_ONE_OUT.judge([pair_of(run)], "accuracy")(run_without(run, "east"))


def pair_of(run: RunRecords) -> RunRecords:
    from made_runs import changed_run

    return changed_run(run, cell=type(run.cell)(run.cell.dataset, run.cell.arm, ("east", "north"), run.cell.trial_seed))


def run_without(run: RunRecords, domain: str) -> RunRecords:
    """The run as if it had held out another domain."""
    from made_runs import changed_run

    record = run.records[0]
    validation = type(record.validation)(
        record.step, {"north": next(iter(record.validation.domains.values()))}, 0.0, None, None
    )
    cell = type(run.cell)(run.cell.dataset, run.cell.arm, (domain,), run.cell.trial_seed)
    return changed_run(run, cell=cell, records=(type(record)(validation, record.test),))


def test_an_export_for_domainbed_is_refused(thrifty: SweepResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training.evaluate.*DomainBed's tools read.*'selection'"):
        export_domainbed(thrifty.plan.sweep.folder, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
