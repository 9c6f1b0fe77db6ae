"""What a sweep chose, as sweep files that can be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_runs import measured_by
from planned_sweep import CONTENTS, invented_records, planned, write_run

from gga_sweep.errors import InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import DomainScores, Record, Score
from gga_sweep.report.chosen import chosen_sweep, reseeded_sweep
from gga_sweep.report.make_report import Report, make_report
from gga_sweep.selection import build_table
from gga_sweep.spec import Plan, PlannedRun, load, plan_sweep

LR = {"lr": {"loguniform": [3e-4, 3e-3]}}


def with_validation(record: Record, accuracy: float) -> Record:
    scores = DomainScores(Score(0.5, 1.0), Score(accuracy, 1.0))
    validation = replace(record.validation, domains=dict.fromkeys(record.validation.domains, scores))
    return replace(record, validation=validation)


def trained(plan: Plan, accuracies: Mapping[int, float], without: tuple[int, ...] = ()) -> Report:
    """A report on a sweep whose runs are as good as their draw number says."""
    ledger = Ledger(plan.sweep.folder)
    for i, run in enumerate(plan.runs):
        if i not in without:
            write_run(ledger, run)
            records = [with_validation(record, accuracies[max(run.draws)]) for record in invented_records(run)]
            folder = ledger.run(run.folder)
            folder.claim({})
            folder.write_records(records)
            folder.write_state(folder.read_state().status, 4)
    return make_report(plan, ledger)


def winners(plan: Plan, draw: int) -> list[PlannedRun]:
    return [run for run in plan.runs if draw in run.draws]


def replanned(text: str, storage: Path) -> Plan:
    return plan_sweep(load(yaml.safe_load(text), storage=storage), CONTENTS)


def test_the_chosen_file_trains_exactly_the_selected_runs(tmp_path: Path) -> None:
    plan = planned(tmp_path, trial_seeds=[0, 1], draws=3)
    report = trained(plan, {0: 0.2, 1: 0.9, 2: 0.4})
    again = replanned(report.chosen, tmp_path)
    assert [run.key for run in again.runs] == [run.key for run in winners(plan, 1)]
    assert again.sweep.name == "demo-chosen"
    assert again.sweep.arms == tuple(replace(arm, draws=1) for arm in plan.sweep.arms)


def test_the_chosen_file_keeps_the_metric_and_nothing_of_the_search(tmp_path: Path) -> None:
    stopping = {"reduction_factor": 2, "grace_period": 3}
    plan = planned(tmp_path, early_stopping=stopping, training={"steps": 8, "evaluate_every": 2}, metric="macro_f1")
    view = measured_by(trained(plan, {0: 0.2, 1: 0.9}).view, "macro_f1")
    chosen = chosen_sweep(plan.sweep, view, build_table(view))
    assert chosen is not None
    again = replanned(chosen, tmp_path)
    assert again.sweep.config.metric == "macro_f1"
    assert again.sweep.config.early_stopping is None
    assert [run.key for run in again.runs] == [run.key for run in winners(plan, 1)]


def test_the_chosen_file_names_its_search(tmp_path: Path) -> None:
    report = trained(planned(tmp_path), {0: 0.2, 1: 0.9})
    assert (
        yaml.safe_load(report.chosen)["chosen"]["search"] == "training-domain validation in sweep demo, 2 draws a cell"
    )


def test_what_was_not_searched_cannot_be_reseeded(tmp_path: Path) -> None:
    plan = planned(tmp_path, draws=1, search_space={})
    assert refusals(plan, trained(plan, {0: 0.5}), [1]) == [
        "DIR: must hold a search; with fixed hyperparameters, add trial seeds to its file"
    ]


def test_a_note_says_that_the_spread_includes_the_search_if_each_seed_searched(tmp_path: Path) -> None:
    again = replanned(trained(planned(tmp_path, trial_seeds=[0, 1]), {0: 0.2, 1: 0.9}).chosen, tmp_path)
    later = make_report(again, Ledger(again.sweep.folder))
    assert later.table.seed_use.endswith("for each trial seed separately; the spread includes that search.")


def test_what_the_file_fixed_stays_fixed(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "arms": [{"algorithm": "ERM", "draws": 3}, {"vary": {"weight_decay": [0.0, 1e-4]}, "name": "decayed"}],
        "defaults": {"batch_size": 16},
        "protocol": "domainbed",
        "search_space": LR,
    }
    plan = planned(tmp_path, **changes)
    again = replanned(trained(plan, {0: 0.2, 1: 0.9, 2: 0.1}).chosen, tmp_path)
    assert [run.config for run in again.runs] == [run.config for run in winners(plan, 1)]


def test_nothing_is_chosen_while_a_cell_has_no_selected_run(tmp_path: Path) -> None:
    report = trained(planned(tmp_path), {0: 0.2, 1: 0.9}, without=(0, 1))
    assert report.chosen == ""


def test_nothing_is_chosen_where_nothing_was_searched(tmp_path: Path) -> None:
    assert trained(planned(tmp_path, draws=1, search_space={}), {0: 0.5}).chosen == ""


def test_a_sweep_of_chosen_hyperparameters_chooses_none(tmp_path: Path) -> None:
    report = trained(planned(tmp_path), {0: 0.2, 1: 0.9})
    again = replanned(report.chosen, tmp_path)
    assert chosen_sweep(again.sweep, report.view, report.table) is None


def test_reseeding_trains_the_winners_of_one_trial_seed_on_others(tmp_path: Path) -> None:
    plan = planned(tmp_path, draws=3)
    report = trained(plan, {0: 0.2, 1: 0.4, 2: 0.9})
    again = replanned(reseeded_sweep(plan.sweep, report.view, report.table, [1, 2, 5]), tmp_path)
    lrs = {(run.cell.arm, run.cell.test_domains): run.hyperparameters["lr"] for run in winners(plan, 2)}
    assert [(run.cell.trial_seed, run.hyperparameters["lr"]) for run in again.runs] == [
        (seed, lrs[arm.name, domains]) for arm in plan.sweep.arms for domains in (("0",), ("75",)) for seed in (1, 2, 5)
    ]
    assert again.sweep.name == "demo-reseeded"


def test_one_of_several_searched_trial_seeds_is_reseeded(tmp_path: Path) -> None:
    plan = planned(tmp_path, trial_seeds=[3, 4])
    report = trained(plan, {0: 0.9, 1: 0.1})
    text = reseeded_sweep(plan.sweep, report.view, report.table, [0], from_seed=4, name="other")
    content = yaml.safe_load(text)
    assert content["name"] == "other"
    assert content["chosen"]["search"] == (
        "training-domain validation on trial seed 4 alone of sweep demo, 2 draws a cell"
    )
    of_seed = {run.hyperparameters["lr"] for run in winners(plan, 0) if run.cell.trial_seed == 4}
    assert {cell["values"]["lr"] for cell in content["chosen"]["cells"]} == of_seed


def test_a_note_says_that_the_spread_of_reseeded_runs_excludes_the_search(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    found = trained(plan, {0: 0.2, 1: 0.9})
    assert "includes the search" in found.table.seed_use
    again = replanned(reseeded_sweep(plan.sweep, found.view, found.table, [1]), tmp_path)
    later = make_report(again, Ledger(again.sweep.folder))
    assert later.table.seed_use == (
        "hyperparameters were chosen before, by training-domain validation on trial seed 0 alone of sweep demo, "
        "2 draws a cell; the spread does not include that search."
    )
    assert not later.view.matched_draws


def refusals(plan: Plan, report: Report, seeds: list[int], **options: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        reseeded_sweep(plan.sweep, report.view, report.table, seeds, **options)
    return [str(fault) for fault in caught.value.faults]


def test_reseeding_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    plan = planned(tmp_path, trial_seeds=[0, 1])
    report = trained(plan, {0: 0.2, 1: 0.9}, without=(0, 1))
    assert refusals(plan, report, [2], from_seed=0) == [
        "DIR: must have every run of the winners' trial seed; incomplete, got 'ERM · test 0 · seed 0: missing "
        "(draws 0, 1); nothing to select'"
    ]
    assert refusals(plan, report, [0, 1], from_seed=1) == [
        "--trial-seeds: must leave out the trial seed that searched, got 1"
    ]
    assert refusals(plan, report, [2], from_seed=1, name="x y/z") == [
        "--name: must begin with a letter or digit and hold only those and . _ -, got 'x y/z'"
    ]
    assert refusals(plan, report, [], from_seed=1) == [
        "--trial-seeds: must name trial seeds from 0 on, each once, got []"
    ]
    assert refusals(plan, report, [2, 2], from_seed=1) == [
        "--trial-seeds: must name trial seeds from 0 on, each once, got [2, 2]"
    ]
    assert refusals(plan, report, [2], from_seed=9) == [
        "--from-seed: must be a trial seed of the sweep, got 9 (allowed: 0, 1)"
    ]
    assert refusals(plan, report, [2])[0] == (
        "--from-seed: must name the trial seed whose winners are trained again (allowed: 0, 1)"
    )
