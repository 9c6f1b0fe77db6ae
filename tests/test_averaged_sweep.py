"""A sweep that averages its weights: its tables, models, export and cleaning."""

from __future__ import annotations

import csv
import io
import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import yaml
from small_sweep import small_sweep, train_without_ray

from gga_sweep.api import SweepResult
from gga_sweep.domainbed.export import export_domainbed
from gga_sweep.execution.clean import clean
from gga_sweep.execution.replay import compare, replay
from gga_sweep.execution.verify import verify
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.report.files import FORMATS, render
from gga_sweep.report.make_report import make_report
from gga_sweep.report.unselected import unselected_runs
from gga_sweep.spec import Plan, SweepSpec, load, plan_sweep, read_contents

if TYPE_CHECKING:
    from console import Command


ERM, GGA = "ERM", "ERM + GGA, start step 2, num steps 2, radius 1e-3, num candidates 3"
AVERAGED = ("ERM + SWAD", "ERM + GGA + SWAD, start step 2, num steps 2, radius 1e-3, num candidates 3")
FILE = small_sweep(
    draws=2,
    search_space={"lr": {"loguniform": [1e-3, 1e-1]}},
    training={"steps": 7, "evaluate_every": 3, "averaging": {"method": "swad", "n_converge": 1}},
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SweepSpec:
    sweep = load(FILE, storage=tmp_path_factory.mktemp("averaged"))
    train_without_ray(sweep)
    return sweep


@pytest.fixture
def sweep(trained: SweepSpec, tmp_path: Path) -> SweepSpec:
    shutil.copytree(trained.folder, tmp_path / trained.name)
    return load(FILE, storage=tmp_path)


def plan_of(sweep: SweepSpec) -> Plan:
    return plan_sweep(sweep, read_contents(sweep))


def result_of(sweep: SweepSpec) -> SweepResult:
    plan, ledger = plan_of(sweep), Ledger(sweep.folder)
    return SweepResult(plan, ledger, make_report(plan, ledger), {}, "sqlite:///nowhere", tracked=True, stopped=None)


def test_tables_have_a_row_for_the_averaged_weights_of_each_arm(trained: SweepSpec) -> None:
    result = result_of(trained)
    assert [row.arm for row in result.table().rows] == [ERM, GGA, *AVERAGED]
    assert not result.table().incomplete
    for arm, row in zip((ERM, GGA), result.table().rows[2:], strict=True):
        runs = [run for run in result.records if run.cell.arm == arm]
        best = max((run.averaged for run in runs if run.averaged), key=lambda one: one.record.validation.accuracy)
        assert row.average.values == (best.record.test.domains["north"].train.accuracy,)
        assert len(runs) == 2
    [note] = result.table().notes
    assert note.startswith("Rows + SWAD have the same runs, with their weights averaged over every step in a valley")
    assert "n_converge 1, n_tolerance 6, tolerance_ratio 0.3" in note


def test_every_report_format_has_them_and_counts_runs_once(trained: SweepSpec) -> None:
    result = result_of(trained)
    forms = {name: render(name, result.report, result.ledger) for name in FORMATS}
    assert all("SWAD" in text for text in forms.values())
    assert "2 arms on 1 test domain of stripes" in " ".join(forms["html"].split())
    assert "all 4 runs done" in forms["html"]
    lines = list(csv.DictReader(io.StringIO(forms["csv"])))
    assert [line["arm"] for line in lines if line["kind"] == "cost" and line["quantity"] == "runs"] == [ERM, GGA]
    assert sum(int(line["value"]) for line in lines if line["kind"] == "runs") == 4
    records = json.loads(forms["json"])["records"]
    assert [one["arm"] for one in records if one["kind"] == "average" and "n" in one] == [ERM, GGA, *AVERAGED]


def test_the_best_averaged_weights_are_loaded_and_predict(trained: SweepSpec) -> None:
    result = result_of(trained)
    best, plain = result.best(arm=AVERAGED[0]), result.best(arm=ERM)
    assert (best.weights, plain.weights) == ("averaged", "selected")
    run = next(run for run in result.records if run.key == best.selected.key)
    assert run.averaged is not None
    assert best.selected.score == run.averaged.record.validation.accuracy
    found = best.predict()
    assert (found.step, found.largest_difference) == (6, 0)
    states = [one.load_model().state_dict() for one in (best, plain)]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_predict_uses_averaged_weights_on_request(gga: Command, trained: SweepSpec) -> None:
    result = result_of(trained)
    folder = trained.folder / "runs" / result.best(arm=AVERAGED[0]).selected.folder
    run = next(run for run in result.records if run.folder == folder.name)
    assert run.averaged is not None
    called = gga("predict", folder, "--averaged", "--split", "train")
    rows = [row for row in csv.DictReader(io.StringIO(called.out)) if row["domain"] == "north"]
    assert (
        sum(int(row["correct"]) for row in rows) / len(rows) == run.averaged.record.test.domains["north"].train.accuracy
    )
    assert gga("predict", folder).out != gga("predict", folder, "--averaged").out


def test_a_ledger_with_averaged_weights_verifies(trained: SweepSpec) -> None:
    seen = verify(Ledger(trained.folder), partial(read_plan, trained.folder))
    assert seen.findings == ()
    assert (seen.checked["averaged model"], seen.checked["evaluation"]) == (4, 16)


def test_the_chosen_sweep_trains_the_runs_selected_by_step(trained: SweepSpec) -> None:
    chosen = yaml.safe_load(result_of(trained).report.chosen)
    assert [cell["arm"] for cell in chosen["chosen"]["cells"]] == [ERM, GGA]
    again = load({**chosen, "name": "again"})
    assert again.training == trained.training
    keys = {run.key for run in plan_of(again).runs}
    assert keys == {one.key for one in result_of(trained).selected() if one.cell.arm in (ERM, GGA)}


def test_cleaning_keeps_both_weights_of_what_either_row_chose(sweep: SweepSpec) -> None:
    result = result_of(sweep)
    chosen = {one.folder for one in result.selected()}
    before = {name: result.ledger.run(name).digests() for name in result.ledger.run_names()}
    removed = {one.path for one in clean(result.plan, result.ledger, unselected_runs)}
    losers = set(result.ledger.run_names()) - chosen
    assert removed == {f"runs/{name}/{file}" for name in losers for file in ("selected", "averaged")}
    assert {"selected", "averaged"} <= before[next(iter(chosen))].keys()
    for name in chosen:
        assert result.ledger.run(name).digests() == before[name]
    assert verify(result.ledger, partial(read_plan, sweep.folder)).findings == ()
    assert result_of(sweep).table() == result.table()


def test_a_run_trained_alone_has_the_same_averaged_weights(sweep: SweepSpec, tmp_path: Path) -> None:
    run = plan_of(sweep).runs[-1]
    folder, _ = replay(sweep, run.key, tmp_path / "alone", lambda progress: None)
    equal = compare(folder, sweep)
    assert equal == dict.fromkeys(("records.jsonl", "annealing.jsonl", "selected", "averaged.jsonl", "averaged"), True)


def test_an_export_to_domainbed_leaves_averaged_weights_out_with_a_remark(trained: SweepSpec, tmp_path: Path) -> None:
    done = export_domainbed(trained.folder, tmp_path / "tree")
    assert (done.runs, done.records) == (4, 12)
    assert any("DomainBed has no averaged weights: the rows ERM + SWAD; " in remark for remark in done.remarks)


def test_averaging_changes_keys_but_no_evaluation(trained: SweepSpec, tmp_path: Path) -> None:
    plain = load({**FILE, "training": {"steps": 7, "evaluate_every": 3}}, storage=tmp_path)
    train_without_ray(plain)
    without, averaging = (result_of(one).records for one in (plain, trained))
    assert [run.records for run in without] == [run.records for run in averaging]
    assert not {run.key for run in without} & {run.key for run in averaging}
    assert all(run.averaged is None for run in without)
