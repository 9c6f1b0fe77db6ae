"""A plan's price against sums over its jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweep_content import CONTENTS, GGA, GGA_L, content

from gga_sweep.records import RunResult, RunState, RunStatus
from gga_sweep.scheduling.estimate import Estimate, estimate_from
from gga_sweep.scheduling.price import price_of
from gga_sweep.scheduling.shared_steps import inherited_steps
from gga_sweep.spec import Outline, Plan, load, outline_sweep, plan_sweep
from gga_sweep.spec.counted_work import MeasuredWork, work_of


def planned(**changes: Any) -> Plan:
    return plan_sweep(load(content(**changes), storage=Path("nowhere")), CONTENTS)


PLAN = planned(
    arms=[{"algorithm": "ERM"}, GGA, {**GGA, "annealing": {"variant": "guided"}}, GGA_L],
    test_domains=[["0"], ["0", "75"]],
    trial_seeds=[0],
    draws=2,
    search_space={"batch_size": {"choice": [4, 8, 16, 30]}},
    training={"steps": 250},
)


def estimate_for(plan: Outline, arms: int | None = None) -> Estimate:
    """Different seconds a unit for each kind of work, measured on the first arms."""
    measured = []
    for number, arm in enumerate(plan.sweep.arms[:arms]):
        for run in plan.runs:
            if run.cell.arm == arm.name:
                work = work_of(run.config, plan.sweep.dataset)
                seconds = {phase: (number + 1) * of_phase.units / 1000 for phase, of_phase in work.items()}
                measured.append(MeasuredWork(work, seconds))
    return estimate_from(plan.sweep.dataset, measured)


ESTIMATE = estimate_for(PLAN)


def test_a_plan_costs_what_its_jobs_cost_and_by_arm() -> None:
    price = price_of(PLAN, ESTIMATE, {})
    each = {run.key: ESTIMATE.seconds(run.config) for run in PLAN.runs}
    assert price.seconds == pytest.approx(sum(sum(phases.values()) for phases in each.values()))
    assert price.left == tuple(pytest.approx(sum(phases.values())) for phases in each.values())
    assert price.jobs == len(PLAN.runs)
    for arm in price.arms:
        own = [each[run.key] for run in PLAN.runs if run.cell.arm == arm.arm]
        assert arm.seconds == pytest.approx({phase: sum(one[phase] for one in own) for phase in own[0]})
        assert arm.a_run == pytest.approx(arm.total / len(own))
        assert not arm.scaled


@pytest.mark.parametrize("with_images", [True, False])
def test_a_job_of_two_arms_is_paid_once_with_images_and_without(with_images: bool) -> None:
    plan: Outline = planned(arms=[{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "again"}], test_domains=[0])
    plan = plan if with_images else outline_sweep(plan.sweep)
    price = price_of(plan, estimate_for(plan), {})
    assert price.jobs == 3
    assert [arm.jobs for arm in price.arms] == [3, 3]
    assert price.seconds == pytest.approx(price.arms[0].total) == pytest.approx(price.arms[1].total)


@pytest.mark.parametrize("status", list(RunStatus))
def test_what_is_final_costs_nothing_more_and_what_was_begun_its_steps_to_come(status: RunStatus) -> None:
    run = PLAN.runs[0]
    price = price_of(PLAN, ESTIMATE, {run.folder: RunState(status, None, 3, 1)})
    final = status in (RunStatus.DONE, RunStatus.DIVERGED, RunStatus.STOPPED)
    saved = ESTIMATE.total(run.config) - (0 if final else ESTIMATE.total(run.config, 4))
    assert price.seconds - price.seconds_left == pytest.approx(saved)
    assert price.jobs - len(price.left) == (1 if final else 0)
    assert price.arms[0].total - price.arms[0].seconds_left == pytest.approx(saved)


def test_done_runs_cost_what_they_took_and_arms_that_were_not_measured_are_named() -> None:
    done, stopped = PLAN.runs[0], PLAN.runs[-1]
    results = {
        run.folder: RunResult(run.folder, RunState(status, None, 9, 1), seconds={"training": 1e6})
        for run, status in ((done, RunStatus.DONE), (stopped, RunStatus.STOPPED))
    }
    estimate = estimate_for(PLAN, arms=1)
    price = price_of(PLAN, estimate, {folder: result.state for folder, result in results.items()}, results)
    others = sum(estimate.total(run.config) for run in PLAN.runs[1:])
    assert price.seconds == pytest.approx(1e6 + others)
    assert [arm.scaled for arm in price.arms] == [False, True, True, True]


def test_steps_that_jobs_share_are_left_once() -> None:
    configs = list(PLAN.configs.values())
    own = sum(ESTIMATE.total(config, steps) for config, steps in zip(configs, inherited_steps(configs), strict=True))
    price = price_of(PLAN, ESTIMATE, {})
    assert 0 < price.shared == pytest.approx(price.seconds_left - own)
    assert price.wall_clock(1) == pytest.approx(own)


def test_a_job_that_is_past_what_it_shares_saves_nothing_more() -> None:
    begun = {run.folder: RunState(RunStatus.PREEMPTED, None, 240, 1) for run in PLAN.runs}
    assert price_of(PLAN, ESTIMATE, begun).shared == pytest.approx(0)
