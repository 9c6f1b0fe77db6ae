"""`SweepResult`: records, table, winners, and their models."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_runs import changed_run

import gga_sweep
from gga_sweep.api import SweepResult
from gga_sweep.errors import GGASweepError, InputError
from gga_sweep.execution.model import load_model
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.report.make_report import make_report, report_of
from gga_sweep.selection import Selected
from gga_sweep.spec import SweepSpec, plan_sweep, read_contents

ERM, GGA = "ERM", "GGA"


@pytest.fixture(scope="module")
def result(trained: SweepSpec) -> SweepResult:
    plan, ledger = plan_sweep(trained, read_contents(trained)), Ledger(trained.folder)
    paths: dict[str, Path] = {}
    report = make_report(plan, ledger)
    return SweepResult(plan, ledger, report, paths, "sqlite:///nowhere", tracked=True, stopped=None)


def best_validation(run: RunRecords) -> float:
    return max(record.validation.accuracy for record in run.records)


def with_status(result: SweepResult, *statuses: RunStatus) -> SweepResult:
    """The first runs as if they had ended so."""
    ended = [changed_run(run, status=status) for run, status in zip(result.records, statuses, strict=False)]
    records = (*ended, *result.records[len(statuses) :])
    return replace(result, report=report_of(result.plan.sweep, replace(result.report.view, records=records)))


def test_the_records_are_all_runs_of_the_plan_with_their_evaluations(result: SweepResult) -> None:
    assert [(run.cell.arm, run.cell.test_domains, run.draws) for run in result.records] == [
        (arm, (domain,), (draw,)) for arm in (ERM, GGA) for domain in ("0", "75") for draw in (0, 1)
    ]
    assert all([record.step for record in run.records] == [0, 2, 4] for run in result.records)


def test_a_folder_is_read_where_it_is_under_whatever_name(trained: SweepSpec, tmp_path: Path) -> None:
    moved = tmp_path / "kept"
    shutil.copytree(trained.folder, moved)
    there, here = gga_sweep.result(str(moved)), gga_sweep.result(trained)
    assert len(there.records) == 8
    assert there.table() == here.table()
    assert there.ledger.folder == moved


def test_device_seconds_count_a_run_of_two_arms_once(result: SweepResult) -> None:
    spent = sum(sum(run.seconds.values()) for run in result.records)
    assert 0 < result.device_seconds == pytest.approx(spent)
    shared = changed_run(result.records[0], cell=replace(result.records[0].cell, arm=GGA))
    view = replace(result.report.view, records=(*result.records, shared))
    twice = replace(result, report=report_of(result.plan.sweep, view))
    assert twice.device_seconds == pytest.approx(spent)


def test_the_best_draw_of_each_cell_is_selected(result: SweepResult) -> None:
    assert len(result.selected()) == 4
    for one in result.selected():
        runs = [run for run in result.records if run.cell == one.cell]
        assert one.score == max(map(best_validation, runs))
        assert one.folder in {run.folder for run in runs if best_validation(run) == one.score}


def test_the_table_has_one_row_for_each_arm(result: SweepResult) -> None:
    table = result.table()
    assert [row.arm for row in table.rows] == [ERM, GGA]
    assert table.selected == result.selected()
    assert not table.incomplete


def test_an_unknown_selection_method_is_refused(result: SweepResult) -> None:
    for ask in (result.table, result.selected):
        with pytest.raises(InputError, match="must be a known selection method, got 'by-the-stars'"):
            ask("by-the-stars")


def test_failed_runs_are_those_that_failed_or_ran_out_of_memory(result: SweepResult) -> None:
    assert result.failed == ()
    ended = with_status(
        result, RunStatus.FAILED, RunStatus.OUT_OF_MEMORY, RunStatus.DIVERGED, RunStatus.STOPPED, RunStatus.PREEMPTED
    )
    assert ended.failed == ended.records[:2]


@pytest.mark.parametrize("arm", [None, ERM, GGA])
@pytest.mark.parametrize("test_domain", [None, "0", "75", ("75",)])
@pytest.mark.parametrize("trial_seed", [None, 0])
def test_best_has_the_highest_validation_accuracy_among_the_matching_cells(
    result: SweepResult, arm: str | None, test_domain: str | tuple[str, ...] | None, trial_seed: int | None
) -> None:
    def asked_for(run: RunRecords) -> bool:
        tests = test_domain if isinstance(test_domain, tuple | None) else (test_domain,)
        return (
            (arm is None or run.cell.arm == arm)
            and (tests is None or run.cell.test_domains == tests)
            and (trial_seed is None or run.cell.trial_seed == trial_seed)
        )

    best = result.best(arm=arm, test_domain=test_domain, trial_seed=trial_seed).selected
    asked = [run for run in result.records if asked_for(run)]
    assert best.score == max(map(best_validation, asked))
    assert best.key in {run.key for run in asked}


def test_a_selected_model_is_short_in_words(result: SweepResult) -> None:
    one = result.best()
    words = re.escape(f"<SelectedModel of {one.selected.folder}: draw {one.selected.draw}, step {one.selected.step}, ")
    assert re.fullmatch(words + r"validation accuracy [\d.]+ %>", repr(one))


def test_best_is_the_first_of_equal_cells(result: SweepResult, monkeypatch: pytest.MonkeyPatch) -> None:
    equal = tuple(replace(one, score=0.5) for one in result.selected())

    def selected(self: SweepResult, method: str = "") -> tuple[Selected, ...]:
        return equal

    monkeypatch.setattr(SweepResult, "selected", selected)
    assert result.best().selected == equal[0]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"arm": "CORAL"}, r"arm='CORAL'"),
        ({"test_domain": "30"}, r"test_domain='30'"),
        ({"test_domain": ("0", "75")}, r"test_domain=\('0', '75'\)"),
        ({"arm": ERM, "trial_seed": 9}, r"arm='ERM', .*trial_seed=9"),
    ],
)
def test_best_without_a_matching_cell_is_refused_with_the_cells(
    result: SweepResult, asked: dict[str, object], shown: str
) -> None:
    with pytest.raises(InputError, match=shown) as error:
        result.best(**asked)  # type: ignore[arg-type]
    assert error.value.faults[0].allowed == (f"{ERM} / 0 / 0", f"{ERM} / 75 / 0", f"{GGA} / 0 / 0", f"{GGA} / 75 / 0")


def test_best_needs_a_finished_run(result: SweepResult) -> None:
    begun = with_status(result, RunStatus.RUNNING, RunStatus.RUNNING)
    with pytest.raises(InputError, match="no run was selected for this"):
        begun.best(arm=ERM, test_domain="0")


def test_a_model_whose_selected_step_was_not_kept_is_refused(result: SweepResult) -> None:
    best = result.best(arm=ERM)
    other = replace(best, selected=replace(best.selected, step=best.selected.step + 2))
    with pytest.raises(InputError, match=r"the run kept only the weights of its best validation step, \d, got \d"):
        other.load_model()
    with pytest.raises(InputError, match="the run kept only the weights"):
        other.predict()


def test_model_and_predictions_of_a_winner_are_those_of_its_run_at_the_selected_step(result: SweepResult) -> None:
    best = result.best(arm=GGA, test_domain="75")
    network, expected = best.load_model(), load_model(result.ledger.run(best.selected.folder))
    assert not network.training
    assert all(torch.equal(expected.state_dict()[name], value) for name, value in network.state_dict().items())
    found = best.predict()
    assert (found.step, found.largest_difference) == (best.selected.step, 0)


def test_the_data_frame_has_a_row_a_run_or_a_row_an_evaluation(result: SweepResult) -> None:
    by_run = result.dataframe()
    assert len(by_run) == len(result.records)
    assert by_run["selected"].sum() == len(result.selected())
    assert by_run["seconds"].sum() == pytest.approx(result.device_seconds)
    means = by_run[by_run["selected"]].groupby("arm")["test_accuracy"].mean()
    assert means.to_dict() == pytest.approx({row.arm: row.average.mean for row in result.table().rows})
    assert set(by_run["params.lr"]) == {run.hyperparameters["lr"] for run in result.records}
    by_step = result.dataframe(by="step")
    assert by_step.groupby("folder")["step"].apply(list).tolist() == [[0, 2, 4]] * len(result.records)


def test_a_data_frame_by_something_else_is_refused(result: SweepResult) -> None:
    with pytest.raises(InputError, match=r"by: must be a known kind of rows, got 'epoch' \(allowed: run, step\)"):
        result.dataframe(by="epoch")  # type: ignore[arg-type]


def test_a_data_frame_without_pandas_says_what_to_install(result: SweepResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(GGASweepError, match="pip install pandas"):
        result.dataframe()


def test_a_notebook_shows_the_result_and_its_plots(result: SweepResult) -> None:
    page = result._repr_html_()
    assert "MLflow: sqlite:///nowhere" in page
    assert "Failed" not in page
    assert "Failed: 1 run" in with_status(result, RunStatus.FAILED)._repr_html_()
    assert "Stopped: told to stop" in replace(result, stopped="told to stop")._repr_html_()
    assert result.plot("accuracy").figure.axes
