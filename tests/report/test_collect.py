"""What tables are made of: the runs of the plan, a searcher's own beside them, and a count of the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from planned_sweep import ANNEALED, CONTENTS, invented_records, planned, write_run

from gga_sweep.ledger.json_codec import dump
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.origin import Origin
from gga_sweep.ledger.run_header import RunHeader
from gga_sweep.ledger.searched_runs import SearchedRun, keep_searched
from gga_sweep.ledger.stored_sweep import write_sweep
from gga_sweep.records import Cell, RunStatus
from gga_sweep.report.collect import collect, fingerprint_of, provenance_of
from gga_sweep.selection import build_table
from gga_sweep.spec import Plan, PlannedRun, searched_run


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return planned(tmp_path)


@pytest.fixture
def ledger(plan: Plan) -> Ledger:
    return Ledger(plan.sweep.folder)


def searched(plan: Plan, arm: str = "ERM + GGA, start step 1, num steps 1", lr: float = 0.02) -> PlannedRun:
    """A run that no plan holds."""
    values = {"arm": arm, "test_domain": "75", "trial_seed": 0, "lr": lr}
    return searched_run(plan.sweep, CONTENTS, values)


def add_searched(ledger: Ledger, run: PlannedRun) -> None:
    keep_searched(ledger, run)
    write_run(ledger, run)


def test_a_ledger_without_runs_is_a_sweep_with_everything_missing(plan: Plan, ledger: Ledger) -> None:
    view = collect(plan, ledger)
    assert (view.name, view.dataset, view.protocol) == ("demo", "RotatedDigits", "quick")
    assert view.arms == ("ERM", "ERM + GGA, start step 1, num steps 1")
    assert (view.test_domains, view.trial_seeds) == ((("0",), ("75",)), (0,))
    assert view.draws == dict.fromkeys(view.arms, (0, 1))
    assert (view.records, view.searched, view.notes) == ((), frozenset(), ())
    assert view.log_scaled == {"lr"}


def test_the_settings_of_an_arm_are_what_it_is_and_what_no_draw_sets(plan: Plan, ledger: Ledger) -> None:
    plain, annealed = collect(plan, ledger).settings.values()
    assert "lr" not in plain
    assert (plain["algorithm"], plain["annealing"], plain["draws"]) == ("ERM", "", 2)
    assert (annealed["annealing"], annealed["annealing.start_step"], annealed["annealing.num_steps"]) == ("gga", 1, 1)
    assert annealed["annealing.origin"] == "start"
    assert "annealing.cuda_graph" not in annealed, "an option of speed is no factor"


def test_a_run_is_collected_with_everything_its_folder_holds(plan: Plan, ledger: Ledger) -> None:
    run = plan.runs[-1]
    write_run(ledger, run, RunStatus.DIVERGED, "the loss became NaN")
    [found] = collect(plan, ledger).records
    assert (found.key, found.folder, found.cell, found.draws) == (run.key, run.folder, run.cell, run.draws)
    assert found.hyperparameters == run.hyperparameters
    assert (found.status, found.reason) == (RunStatus.DIVERGED, "the loss became NaN")
    assert found.records == invented_records(run)
    assert found.annealed == (ANNEALED,)
    assert found.seconds == {"training": 2.0, "search": 1.0}


def test_runs_stand_in_the_order_of_the_plan(plan: Plan, ledger: Ledger) -> None:
    for run in reversed(plan.runs):
        write_run(ledger, run)
    assert [run.key for run in collect(plan, ledger).records] == [run.key for run in plan.runs]


def test_the_files_overrides_of_its_protocol_are_listed(plan: Plan, ledger: Ledger) -> None:
    assert collect(plan, ledger).deviations == (
        "steps is 5 (the protocol's: 300)",
        "evaluate_every is 4 (the protocol's: 50)",
    )


def test_an_annealed_arm_stands_beside_its_own_algorithm_where_that_is_its_baseline(tmp_path: Path) -> None:
    window = {"start_step": 1, "num_steps": 1}
    arms = [
        {"algorithm": "ERM"},
        {"algorithm": "CORAL"},
        {"name": "a", "algorithm": "CORAL", "annealing": window},
        {"name": "b", "algorithm": "CORAL", "annealing": {"method": "gga-l"}},
        {"name": "c", "algorithm": "MMD", "annealing": window},
        {"name": "d", "algorithm": "CORAL", "annealing": window, "baseline": "ERM"},
        {"name": "e", "algorithm": "CORAL", "annealing": window, "baseline": "a"},
        {"name": "f", "annealing": window},
    ]
    plan = planned(tmp_path, arms=arms)
    assert collect(plan, Ledger(plan.sweep.folder)).algorithms == {"a": "CORAL", "b": "CORAL", "f": "ERM"}


def test_an_algorithm_that_predicts_from_its_evaluation_batch_is_said_to_once(tmp_path: Path) -> None:
    algorithms = ("ERM", "ARM", "MTL", "CORAL")
    arms = [{"algorithm": name} for name in algorithms] + [{"algorithm": "ARM", "name": "other", "vary": {"lr": [0.1]}}]
    plan = planned(tmp_path, arms=arms)
    view = collect(plan, Ledger(plan.sweep.folder))
    assert [note.partition(":")[0] for note in view.notes] == ["ARM is transductive", "MTL is transductive"]
    assert view.notes == build_table(view).notes


def test_two_arms_that_share_a_run_each_have_it(tmp_path: Path) -> None:
    plan = planned(tmp_path, arms=[{"name": "one"}, {"name": "two"}])
    ledger = Ledger(plan.sweep.folder)
    write_run(ledger, plan.runs[0])
    assert [run.cell.arm for run in collect(plan, ledger).records] == ["one", "two"]
    assert ledger.run_names() == [plan.runs[0].folder]


def test_runs_outside_the_plan_are_counted_and_left_out(plan: Plan, ledger: Ledger, tmp_path: Path) -> None:
    for run in plan.runs:
        write_run(ledger, run)
    smaller = planned(tmp_path, draws=1, test_domains=["0"])
    view = collect(smaller, ledger)
    assert [run.key for run in view.records] == [run.key for run in smaller.runs]
    assert view.notes == ("Left out: 6 runs of the ledger outside the present plan.",)
    assert collect(plan, ledger).notes == ()


def test_runs_that_two_environments_trained_are_counted_once_and_marked(tmp_path: Path) -> None:
    plan = planned(tmp_path, arms=[{"name": "one"}, {"name": "two"}])
    ledger = Ledger(plan.sweep.folder)
    for run in plan.runs[:3]:
        write_run(ledger, run)
    assert collect(plan, ledger).notes == ()
    folder = ledger.run(str(plan.runs[0].folder))
    folder.claim({})
    folder.write_state(RunStatus.DONE, 4, environments=["from step 2: torch 2.8 -> 2.9"])
    view = collect(plan, ledger)
    assert [run.cell.arm for run in view.records if run.environments] == ["one", "two"]
    assert {run.environments for run in view.records} == {(), ("from step 2: torch 2.8 -> 2.9",)}
    assert view.notes == (
        "Resumed in another environment: 1 run. Their last bits may differ from those of runs "
        "trained in one environment.",
    )


def test_a_searchers_run_enters_under_its_key_and_marks_its_arm(plan: Plan, ledger: Ledger) -> None:
    write_run(ledger, plan.runs[0])
    run = searched(plan)
    add_searched(ledger, run)
    view = collect(plan, ledger)
    [_, found] = view.records
    assert (found.key, found.folder) == (run.key, run.folder)
    assert found.cell == Cell("RotatedDigits", "ERM + GGA, start step 1, num steps 1", ("75",), 0)
    assert found.draws == (int(run.key[:8], 16),)
    assert found.hyperparameters == {"lr": 0.02}
    assert found.records == invented_records(run)
    assert found.annealed == (ANNEALED,)
    assert view.searched == {found.cell.arm}
    assert view.notes == ()


def test_planned_draws_of_an_arm_that_was_only_searched_are_not_missing(plan: Plan, ledger: Ledger) -> None:
    add_searched(ledger, searched(plan))
    view = collect(plan, ledger)
    assert view.draws == {"ERM": (0, 1)}
    missing = {cell.cell.arm for cell in build_table(view).incomplete if "missing" in cell.reasons}
    assert missing == {"ERM"}


def test_a_launched_arm_with_a_search_misses_the_runs_of_its_plan(plan: Plan, ledger: Ledger) -> None:
    run = searched(plan)
    add_searched(ledger, run)
    write_run(ledger, next(other for other in plan.runs if other.cell == run.cell))
    view = collect(plan, ledger)
    assert view.draws == dict.fromkeys(view.arms, (0, 1))
    assert view.searched == {run.cell.arm}


def test_a_searched_run_that_the_plan_holds_stands_once(plan: Plan, ledger: Ledger) -> None:
    run = plan.runs[1]
    arm = run.cell.arm
    values = {"arm": arm, "test_domain": "0", "trial_seed": 0, **run.hyperparameters}
    add_searched(ledger, searched_run(plan.sweep, CONTENTS, values))
    view = collect(plan, ledger)
    assert [(found.key, found.draws) for found in view.records] == [(run.key, (1,))]
    assert view.searched == frozenset()


def test_a_searched_run_that_two_arms_share_is_remembered_for_both(tmp_path: Path) -> None:
    plan = planned(tmp_path, arms=[{"name": "one"}, {"name": "two"}])
    ledger = Ledger(plan.sweep.folder)
    runs = [searched(plan, arm) for arm in ("one", "two")]
    assert runs[0].key == runs[1].key
    for run in (*runs, *runs):
        add_searched(ledger, run)
    assert sorted(run.cell.arm for run in collect(plan, ledger).records) == ["one", "two"]


def test_a_searched_run_of_an_arm_no_longer_planned_is_counted(plan: Plan, ledger: Ledger, tmp_path: Path) -> None:
    add_searched(ledger, searched(plan))
    view = collect(planned(tmp_path, arms=[{}]), ledger)
    assert (view.records, view.searched) == ((), frozenset())
    assert view.notes == ("Left out: 1 run of the ledger outside the present plan.",)


def test_damaged_searched_runs_are_counted(plan: Plan, ledger: Ledger) -> None:
    run = searched(plan)
    add_searched(ledger, run)
    place = dump(SearchedRun(run.folder, replace(run.place, draws=())))
    for name, content in (("no-json", b"{"), ("no-place", b'{"folder":"a"}'), ("no-draw", place.encode())):
        ledger.store.replace(f"searched/{name}.json", content)
    view = collect(plan, ledger)
    assert [found.key for found in view.records] == [run.key]
    assert view.notes == ("Left out: 3 runs of a user's own searcher with a damaged file in searched/.",)


def test_an_environment_of_all_runs_is_listed_once_and_others_are_counted(plan: Plan, ledger: Ledger) -> None:
    write_run(ledger, plan.runs[0], fingerprint={"torch": "2.9", "cpu": "avx2"})
    write_run(ledger, plan.runs[1], fingerprint={"torch": "2.9", "cpu": "avx512"})
    write_run(ledger, plan.runs[2], fingerprint={"torch": "2.9", "cpu": "avx512"})
    found = [header for header in ledger.read_headers([run.folder for run in plan.runs]) if header is not None]
    assert fingerprint_of(found) == {"torch": "2.9", "cpu": "avx2 (1 run); avx512 (2 runs)"}
    assert fingerprint_of(()) == {}


def headers(ledger: Ledger) -> list[RunHeader]:
    return [header for header in ledger.read_headers(ledger.run_names()) if header is not None]


def test_dates_command_package_and_digest_say_where_runs_come_from(
    plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provenance_of(ledger, ()) == {"Ledger": str(ledger.folder)}
    for origin, command, package in (
        (Origin("1.2", "abc", True, "gga-sweep run x.yaml"), "gga-sweep run x.yaml", "1.2, commit abc with changes"),
        (Origin("1.2"), "launched from Python", "1.2"),
    ):
        monkeypatch.setattr("gga_sweep.ledger.stored_sweep.find_origin", lambda found=origin: found)
        write_sweep(ledger, plan.sweep, CONTENTS)
        write_run(ledger, plan.runs[0])
        assert provenance_of(ledger, headers(ledger)) == {
            "Runs started": "1970-01-01 00:00 UTC",
            "Command": command,
            "gga-sweep": package,
            "Dataset digest": "d" * 32,
            "Ledger": str(ledger.folder),
        }
    [header] = headers(ledger)
    later = replace(header, start_time=90.0)
    assert provenance_of(ledger, [later, header])["Runs started"] == "1970-01-01 00:00 UTC to 1970-01-01 00:01 UTC"
