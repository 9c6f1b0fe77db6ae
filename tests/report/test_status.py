"""Plans and statuses as a terminal shows them, from runs that nobody trained."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.run_folder import RunState
from gga_sweep.planning import Contents, Plan, load, plan_sweep
from gga_sweep.records import RunStatus
from gga_sweep.report.status import plan_picture, read_states, status_picture

CONTENTS = Contents(dataset="0" * 32)


def small_plan(contents: Contents | None = CONTENTS, storage: Path = Path("nowhere"), **fields: Any) -> Plan:
    """ERM and an annealed arm, two test domains, two trial seeds, three draws: 24 runs."""
    content = {
        "name": "small",
        "dataset": {"name": "RotatedDigits"},
        "arms": [{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "GGA", "annealing": {"start_step": 2}}],
        "test_domains": ["0", "75"],
        "trial_seeds": [0, 1],
        "draws": 3,
        "search_space": {"lr": {"loguniform": [1e-4, 1e-2]}},
        "training": {"steps": 200},
        **fields,
    }
    return plan_sweep(load(content, storage=storage), contents)


def lines(picture: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=300)
    with console.capture() as capture:
        console.print(picture)
    return [" ".join(line.split()) for line in capture.get().splitlines() if line.strip()]


def states_of(plan: Plan, *statuses: RunStatus, reason: str | None = None) -> dict[str, RunState]:
    """The first runs are in these states."""
    return {str(run.folder): RunState(status, reason, step=7) for run, status in zip(plan.runs, statuses, strict=False)}


def test_a_plan_counts_cells_and_runs_by_arm() -> None:
    shown = lines(plan_picture(small_plan(), {}))
    assert shown[:4] == ["small: plan", "Arm Cells Runs Done", "ERM 4 12 0", "GGA 4 12 0"]
    assert "24 runs in 8 cells, 24 distinct training jobs of 200 steps." in shown


def test_equal_runs_of_two_arms_are_one_job_with_and_without_keys() -> None:
    arms = [{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "again"}]
    for contents in (CONTENTS, None):
        assert "24 runs in 8 cells, 12 distinct training jobs of 200 steps." in lines(
            plan_picture(small_plan(contents, arms=arms), {})
        )


def test_done_in_a_plan_is_what_no_launch_trains_again() -> None:
    plan = small_plan()
    states = states_of(plan, *RunStatus)
    final = sum(status in (RunStatus.DONE, RunStatus.DIVERGED, RunStatus.STOPPED) for status in RunStatus)
    assert f"ERM 4 12 {final}" in lines(plan_picture(plan, states))


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        ({}, "Each run occupies 1 CPU."),
        ({"cpus": 2, "gpus": 0.5}, "Each run occupies 2 CPU and 0.5 GPU."),
        ({"cpus": 0.25}, "Each run occupies 0.25 CPU."),
    ],
)
def test_a_plan_names_what_a_run_occupies(resources: Mapping[str, float], sentence: str) -> None:
    assert sentence in lines(plan_picture(small_plan(resources=resources), {}))


def test_a_plan_names_its_protocol_and_how_the_file_departs_from_it() -> None:
    shown = lines(plan_picture(small_plan(), {}))
    assert any(line.startswith("Protocol quick: ") for line in shown)
    assert "Deviation: steps is 200 (the protocol's: 300)." in shown


@pytest.mark.parametrize(("root", "named"), [(None, "no dataset.root given"), ("not-there", "not-there")])
def test_a_benchmark_whose_images_are_missing_is_planned_from_what_was_published(root: str | None, named: str) -> None:
    dataset = {"name": "PACS"} if root is None else {"name": "PACS", "root": root}
    shown = lines(plan_picture(small_plan(None, dataset=dataset, test_domains="all"), {}))
    assert "48 runs in 16 cells, 48 distinct training jobs of 200 steps." in shown
    assert named in shown[-1]
    assert "published domains and counts, without keys. `run` and `train` need them." in shown[-1]


def test_where_the_images_are_nothing_is_said_of_them() -> None:
    assert not any("not there" in line for line in lines(plan_picture(small_plan(), {})))


def test_a_status_counts_by_arm_only_what_there_is() -> None:
    plan = small_plan()
    states = states_of(plan, RunStatus.DONE, RunStatus.DONE, RunStatus.RUNNING, RunStatus.OUT_OF_MEMORY)
    shown = lines(status_picture(plan, states))
    assert shown[:4] == ["small: status", "Arm Queued Running Done Out of memory", "ERM 8 1 2 1", "GGA 12 0 0 0"]


def test_a_sweep_that_was_not_started_is_queued() -> None:
    assert lines(status_picture(small_plan(), {})) == ["small: status", "Arm Queued", "ERM 12", "GGA 12"]


def test_every_run_that_is_neither_queued_nor_done_is_named_with_its_step_and_reason() -> None:
    plan = small_plan()
    reason = "RuntimeError: [/told] to :fail: at [bold]"  # no mark-up
    states = states_of(plan, *RunStatus, reason=reason)
    named = lines(status_picture(plan, states))[4:]
    assert len(named) == len(RunStatus) - 2
    failed = next(run for run in plan.runs if states.get(str(run.folder)) == RunState(RunStatus.FAILED, reason, 7))
    assert f"{failed.folder}: failed at step 7 ({reason})" in named


def test_a_run_without_a_reason_has_no_brackets() -> None:
    plan = small_plan()
    named = lines(status_picture(plan, states_of(plan, RunStatus.RUNNING)))[-1]
    assert named == f"{plan.runs[0].folder}: running at step 7"


def test_a_run_that_two_arms_share_is_named_once() -> None:
    plan = small_plan(arms=[{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "again"}])
    shown = lines(status_picture(plan, states_of(plan, RunStatus.FAILED)))
    assert shown[2:4] == ["ERM 11 1", "again 11 1"]
    assert len(shown) == 5


def test_of_many_runs_twenty_are_named_and_the_rest_counted() -> None:
    plan = small_plan()
    shown = lines(status_picture(plan, states_of(plan, *[RunStatus.PREEMPTED] * 23)))
    assert len(shown) == 4 + 20 + 1
    assert shown[-1] == "and 3 more"


def test_states_are_read_of_the_runs_that_were_started(tmp_path: Path) -> None:
    plan = small_plan(storage=tmp_path)
    ledger = Ledger(plan.sweep.folder)
    begun = ledger.run(str(plan.runs[3].folder))
    begun.claim({})
    begun.write_state(RunStatus.RUNNING, 4)
    ledger.run("of-another-plan").claim({})
    assert read_states(plan, ledger) == {begun.name: RunState(RunStatus.RUNNING, None, 4, 1)}


def test_a_plan_without_keys_has_no_states(tmp_path: Path) -> None:
    plan = small_plan(None, tmp_path)
    Ledger(plan.sweep.folder).run("some-run").claim({})
    assert read_states(plan, Ledger(plan.sweep.folder)) == {}
    assert "ERM 4 12 0" in lines(plan_picture(plan, {}))
