"""A plan's price against a walk through every step of every run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_configs import annealing_options
from sweep_content import CONTENTS, GGA, GGA_L, content, two_arms

from gga_sweep import annealing as methods
from gga_sweep.datasets import DatasetDescription
from gga_sweep.records import RunResult, RunState, RunStatus
from gga_sweep.scheduling.price import (
    PHASES,
    decoded_bytes,
    price_from_runs,
    price_of,
    run_seconds,
    runs_at_once,
)
from gga_sweep.scheduling.shared_steps import inherited_steps
from gga_sweep.spec import Outline, Plan, Sweep, load, outline_sweep, plan_sweep
from gga_sweep.spec.models import ResourcesConfig, RunSpec
from gga_sweep.training.unit_costs import HostCosts, Line, SearchCosts, UnitCosts, form_of, host_of

N_DOMAINS = 6  # of RotatedDigits


def planned(plan_of: Callable[[Sweep], Any] = lambda sweep: plan_sweep(sweep, CONTENTS), **changes: Any) -> Any:
    return plan_of(load(content(**changes), storage=Path("nowhere")))


def costs_for(plan: Plan, scale: float = 1.0) -> UnitCosts:
    """Unlike numbers for every host and form, so that no two can be taken for one another."""
    hosts: dict[Any, HostCosts] = {}
    searches: dict[Any, SearchCosts] = {}
    noisy: dict[Any, Line] = {}
    for run in plan.runs:
        host = host_of(run.config, N_DOMAINS)
        number = scale * host.training_domains
        hosts[host] = HostCosts(Line(0.1 * number, 0.01), 0.001, 0.002, 0.5, 0.25 * number, 1000, 100)
        if run.config.annealing is not None:
            form = form_of(run.config.annealing)
            place = len(searches) + len(noisy) + 1
            if isinstance(run.config.annealing, methods.GGA):
                found = SearchCosts(Line(place, 0.03), Line(0.2 * place, 0.002), Line(3.0 * place, 0.3))
                searches.setdefault((host, form), found)
            else:
                noisy.setdefault((host, form), Line(0.7 * place, 0.07))
    return UnitCosts("some device", hosts, searches, noisy, ("A remark.",))


def walked(config: RunSpec, dataset: DatasetDescription, costs: UnitCosts, trained: int = 0) -> dict[str, float]:
    """Every step and every evaluation to come, one after the other."""
    host = host_of(config, N_DOMAINS)
    of_host, images = costs.hosts[host], int(config.hyperparameters["batch_size"])
    annealing = annealing_options(config)
    seconds = dict.fromkeys(PHASES, 0.0)
    for step in range(trained, config.training.steps):
        line = (
            costs.noisy_steps[host, form_of(config.annealing)] if annealing.get("method") == "gga-l" else of_host.step
        )
        seconds["training"] += line.fixed + images * line.an_image
        first = int(annealing.get("start_step", -1))
        if annealing.get("method") == "gga" and first <= step < first + int(annealing["num_steps"]):
            search = costs.searches[host, form_of(config.annealing)]
            seconds["search"] += search.start.fixed + images * search.start.an_image
            for _ in range(int(annealing["num_candidates"])):
                seconds["search"] += search.candidate.fixed + images * search.candidate.an_image
            seconds["diagnostics"] += search.diagnostics.fixed + images * search.diagnostics.an_image
        last = step == config.training.steps - 1
        if step % config.training.evaluate_every == 0 or last:
            for name, size in dataset.domain_sizes.items():
                tested = name in config.test_domains
                seconds["evaluation"] += size * (of_host.evaluated_image if tested else of_host.augmented_image)
                seconds["evaluation"] += of_host.probe if tested else 2 * of_host.probe
            seconds["checkpoint"] += 0.0 if last else of_host.checkpoint
    return seconds


@settings(max_examples=30)
@given(
    steps=st.integers(1, 40),
    every=st.integers(1, 45),
    start=st.integers(0, 20),
    window=st.integers(1, 20),
    candidates=st.integers(1, 9),
    batch=st.integers(1, 64),
    held_out=st.sampled_from([("0",), ("0", "75")]),
    trained=st.integers(0, 42),
)
def test_a_run_costs_what_its_steps_cost(
    steps: int,
    every: int,
    start: int,
    window: int,
    candidates: int,
    batch: int,
    held_out: tuple[str, ...],
    trained: int,
) -> None:
    plan = WITH_ALL_METHODS
    costs = costs_for(plan)
    for run in plan.runs:
        if run.cell.test_domains != held_out:
            continue
        training = run.config.training.model_copy(update={"steps": steps, "evaluate_every": every})
        annealing = run.config.annealing
        if isinstance(annealing, methods.GGA):
            annealing = replace(annealing, start_step=start, num_steps=window, num_candidates=candidates)
        hyperparameters = {**run.config.hyperparameters, "batch_size": batch}
        changes = {"training": training, "annealing": annealing, "hyperparameters": hyperparameters}
        config = run.config.model_copy(update=changes)
        found = run_seconds(config, plan.sweep.dataset, costs, trained)
        assert found == pytest.approx(walked(config, plan.sweep.dataset, costs, trained))


def test_a_plan_costs_what_its_jobs_cost_and_by_arm() -> None:
    plan = WITH_ALL_METHODS
    costs = costs_for(plan)
    price = price_of(plan, costs, {})
    each = {run.key: walked(run.config, plan.sweep.dataset, costs) for run in plan.runs}
    assert price.seconds == pytest.approx(sum(sum(phases.values()) for phases in each.values()))
    assert price.seconds_left == price.seconds
    assert price.longest == pytest.approx(max(sum(phases.values()) for phases in each.values()))
    assert (price.jobs, price.left, price.scaled) == (len(plan.runs), len(plan.runs), ())
    for arm in price.arms:
        own = [each[run.key] for run in plan.runs if run.cell.arm == arm.arm]
        assert arm.seconds == pytest.approx({phase: sum(one[phase] for one in own) for phase in PHASES})
        assert arm.a_run == pytest.approx(arm.total / len(own))
    assert (price.device, price.source, price.remarks) == ("some device", "calibration", ("A remark.",))


@pytest.mark.parametrize("plan_of", [lambda sweep: plan_sweep(sweep, CONTENTS), outline_sweep])
def test_a_job_of_two_arms_is_paid_once_with_and_without_images(plan_of: Callable[[Sweep], Outline]) -> None:
    plan = planned(plan_of, arms=[{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "again"}], test_domains=[0])
    price = price_of(plan, costs_for(plan), {})
    assert price.jobs == 3
    assert [arm.jobs for arm in price.arms] == [3, 3]
    assert price.seconds == pytest.approx(price.arms[0].total) == pytest.approx(price.arms[1].total)
    assert price.disk.selected == 3 * 100


@pytest.mark.parametrize("status", list(RunStatus))
def test_what_is_final_costs_nothing_more_and_what_was_begun_its_steps_to_come(status: RunStatus) -> None:
    plan = WITH_ALL_METHODS
    costs, run = costs_for(plan), plan.runs[0]
    price = price_of(plan, costs, {str(run.folder): RunState(status, None, 3, 1)})
    final = status in (RunStatus.DONE, RunStatus.DIVERGED, RunStatus.STOPPED)
    whole, rest = (sum(walked(run.config, plan.sweep.dataset, costs, trained).values()) for trained in (0, 4))
    saved = whole if final else whole - rest
    assert price.seconds - price.seconds_left == pytest.approx(saved)
    assert price.jobs - price.left == price.arms[0].jobs - price.arms[0].left == (1 if final else 0)
    assert price.arms[0].total - price.arms[0].seconds_left == pytest.approx(saved)


def done(plan: Plan, seconds: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, RunResult]:
    """The first runs of each arm are done, and took so many seconds by phase."""
    found = {}
    for arm, each in seconds.items():
        runs = [run for run in plan.runs if run.cell.arm == arm]
        for run, spent in zip(runs, each, strict=False):
            found[str(run.folder)] = RunResult(str(run.folder), RunState(RunStatus.DONE, None, 9, 1), seconds=spent)
    return found


def states(results: Mapping[str, RunResult]) -> dict[str, RunState]:
    return {folder: result.state for folder, result in results.items()}


def test_finished_runs_cost_their_own_seconds_and_the_others_what_these_teach() -> None:
    """All runs of an arm do the same work here, so that it is their mean."""
    plan = plan_sweep(load(two_arms(), storage=Path("nowhere")), CONTENTS)
    plain_runs = [{"training": 10.0, "evaluation": 1.0}, {"training": 20.0, "evaluation": 1.0}]
    annealed_run = {"training": 30.0, "search": 6.0, "diagnostics": 2.0, "evaluation": 1.0}
    found = done(plan, {"ERM": plain_runs, "ERM + GGA": [annealed_run]})
    price = price_from_runs(plan, found, states(found), "cpu")
    plain, annealed = price.arms
    step = (10 + 20 + 30) / 3  # a step without its search is the same in both arms
    assert plain.seconds["training"] == pytest.approx(10 + 20 + 10 * step)  # 12 runs an arm
    assert plain.seconds_left == pytest.approx(10 * (step + 1))
    assert annealed.seconds["training"] == pytest.approx(30 + 11 * step)
    assert annealed.seconds["search"] == pytest.approx(12 * 6)
    assert price.seconds == pytest.approx(32 + 39 + 10 * (step + 1) + 11 * (step + 9))
    assert price.longest == pytest.approx(step + 9)
    assert price.source == "finished runs"
    assert price.scaled == ()
    assert price.disk.selected is None


def test_an_arm_without_a_done_run_is_scaled_by_its_work_and_named() -> None:
    plan = plan_sweep(load(two_arms(), storage=Path("nowhere")), CONTENTS)
    found = done(plan, {"ERM": [{"training": 4.0, "evaluation": 1.0}]})
    stopped = next(run for run in plan.runs if run.cell.arm == "ERM + GGA")
    result = RunResult(str(stopped.folder), RunState(RunStatus.STOPPED, None, 5, 1), seconds={"training": 99.0})
    found[str(stopped.folder)] = result  # it did not go through all its steps
    price = price_from_runs(plan, found, states(found), "cpu")
    plain, annealed = price.arms
    assert price.scaled == ("ERM + GGA",)
    assert plain.total == pytest.approx(12 * 5)
    assert annealed.seconds["training"] == pytest.approx(12 * 4)
    assert annealed.seconds["search"] == pytest.approx(12 * 4 * (3 * 251) / 10)  # 3 of 10 steps, 250 candidates
    assert (annealed.jobs, annealed.left) == (12, 11)


@pytest.mark.parametrize("at_once", [1, 8, 100])
def test_no_wall_clock_is_shorter_than_the_longest_job(at_once: int) -> None:
    plan = plan_sweep(load(two_arms(), storage=Path("nowhere")), CONTENTS)
    phases = {"diagnostics": 1.0, "evaluation": 1.0}
    found = done(
        plan, {"ERM": [{"training": 15.0, **phases}], "ERM + GGA": [{"training": 15.0, "search": 21.0, **phases}]}
    )
    price = price_from_runs(plan, found, states(found), "cpu")
    assert price.seconds_left == pytest.approx(11 * 16 + 11 * 38)
    assert price.wall_clock(at_once) == pytest.approx(max(38.0, (11 * 16 + 11 * 38 - price.shared) / at_once))


def test_steps_that_jobs_share_are_left_once() -> None:
    plan = WITH_ALL_METHODS
    costs, dataset = costs_for(plan), plan.sweep.dataset
    jobs = list(plan.configs.values())
    own = 0.0
    for config, inherited in zip(jobs, inherited_steps(jobs), strict=True):
        own += sum(walked(config, dataset, costs, inherited).values())
    price = price_of(plan, costs, {})
    assert 0 < price.shared == pytest.approx(price.seconds_left - own)


def test_a_job_that_is_past_what_it_shares_saves_nothing_more() -> None:
    plan = WITH_ALL_METHODS
    begun = {str(run.folder): RunState(RunStatus.PREEMPTED, None, 240, 1) for run in plan.runs}
    assert price_of(plan, costs_for(plan), begun).shared == pytest.approx(0)


def test_decoded_photographs_take_a_byte_a_pixel_and_channel_and_the_digits_nothing() -> None:
    benchmark = planned(outline_sweep, dataset={"name": "PACS"}, test_domains="all").sweep.dataset
    assert decoded_bytes(benchmark, "PACS") == 9991 * 3 * 224 * 224
    assert decoded_bytes(WITH_ALL_METHODS.sweep.dataset, "RotatedDigits") == 0


@pytest.mark.parametrize(
    ("resources", "threads", "cpus", "gpus", "at_once"),
    [
        ({}, 1, 4, 0, 4),
        ({}, 2, 4, 0, 2),  # two threads need two CPUs, whatever is reserved
        ({"cpus": 0.25}, 1, 4, 0, 4),
        ({"cpus": 3}, 1, 8, 0, 2),
        ({"cpus": 2, "gpus": 1}, 1, 16, 4, 4),
        ({"cpus": 8, "gpus": 1}, 1, 16, 4, 2),
        ({"cpus": 1, "gpus": 0.5}, 1, 16, 4, 4),  # two on a GPU share its time
        ({"max_concurrent": 3}, 1, 16, 0, 3),
        ({"cpus": 2, "gpus": 1}, 1, 16, 0, 1),  # planned on a machine without one
    ],
)
def test_as_many_runs_at_once_as_there_are_whole_devices(
    resources: dict[str, Any], threads: int, cpus: float, gpus: float, at_once: int
) -> None:
    assert runs_at_once(ResourcesConfig(**resources), threads, cpus, gpus) == at_once


WITH_ALL_METHODS = planned(
    arms=[{"algorithm": "ERM"}, GGA, {**GGA, "annealing": {"variant": "guided"}}, GGA_L],
    test_domains=[["0"], ["0", "75"]],
    trial_seeds=[0],
    draws=2,
    search_space={"batch_size": {"choice": [4, 8, 16, 30]}},
    training={"steps": 250},
)
