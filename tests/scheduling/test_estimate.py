"""The estimate of seconds against a law that seconds follow, and the arithmetic of runs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sweep_content import CONTENTS, GGA, GGA_L, content

from gga_sweep.annealing import options as methods
from gga_sweep.records import RunResult, RunState, RunStatus
from gga_sweep.scheduling.estimate import (
    Estimate,
    estimate_from,
    estimate_from_runs,
    runs_at_once,
    undivided,
    wall_clock,
)
from gga_sweep.spec import Plan, load, plan_sweep
from gga_sweep.spec.counted_work import MeasuredWork, work_of
from gga_sweep.spec.models import ResourcesConfig, RunSpec

GUIDED = {"algorithm": "ERM", "annealing": {"variant": "guided"}}
N_DOMAINS = 6  # of RotatedDigits


def planned(**changes: Any) -> Plan:
    """Five arms whose draws differ in batch size, window and candidates; pairs of test domains too."""
    fields = {
        "arms": [{"algorithm": "ERM"}, {"algorithm": "CORAL"}, GGA, GUIDED, GGA_L],
        "test_domains": [["0"], ["0", "75"]],
        "trial_seeds": [0],
        "draws": 8,
        "search_space": {
            "batch_size": {"choice": [4, 8, 16, 32]},
            "annealing.num_steps": {"integers": [5, 60]},
            "annealing.num_candidates": {"integers": [2, 60]},
        },
        "training": {"steps": 250, "evaluate_every": 100},
        **changes,
    }
    return plan_sweep(load(content(**fields), storage=Path("nowhere")), CONTENTS)


PLAN = planned()
CONFIGS = [run.config for run in PLAN.runs]
PLAIN = [config for config in CONFIGS if config.algorithm == "ERM" and config.annealing is None]


def law(config: RunSpec, trained: int = 0) -> dict[str, float]:
    """Seconds by phase: a step, a candidate and an evaluation take a time of their own for each kind of run."""
    annealing = config.annealing
    images = (N_DOMAINS - len(config.test_domains)) * int(config.hyperparameters["batch_size"])
    a_step = {"ERM": 1e-3, "CORAL": 1.7e-3}[config.algorithm] * (3 if isinstance(annealing, methods.GGAL) else 1)
    seconds = {"training": a_step * images * (250 - trained), "evaluation": 0.0}
    if isinstance(annealing, methods.GGA):
        first = annealing.start_step
        annealed = len(range(max(first, trained), min(250, first + annealing.num_steps)))
        points = images * (1 + annealing.num_candidates)
        if annealing.direction == "gradient":
            points += 6 * int(config.hyperparameters["batch_size"])
        seconds["search"] = (5e-4 if annealing.direction == "random" else 3e-3) * annealed * points
        seconds["diagnostics"] = 2e-3 * annealed * images
    return seconds


def estimated(configs: Sequence[RunSpec], spent: Callable[[RunSpec], dict[str, float]] = law) -> Estimate:
    dataset = PLAN.sweep.dataset
    return estimate_from(dataset, (MeasuredWork(work_of(config, dataset), spent(config)) for config in configs))


@pytest.mark.parametrize("trained", [0, 120, 250])
def test_runs_of_other_batches_windows_and_candidates_are_predicted(trained: int) -> None:
    """From every third run, in any order; an evaluation that took no second counts as training would."""
    for measured in (CONFIGS[::3], CONFIGS[::3][::-1]):
        estimate = estimated(measured)
        assert estimate.in_seconds
        for config in CONFIGS:
            found = estimate.seconds(config, trained)
            assert {**found, "evaluation": 0.0} == pytest.approx(law(config, trained))
            assert estimate.total(config, trained) == pytest.approx(sum(found.values()))


def test_without_a_measured_run_an_estimate_is_counted_work() -> None:
    estimate = estimated([])
    assert not estimate.in_seconds
    for config in CONFIGS:
        work = work_of(config, PLAN.sweep.dataset, 7)
        assert estimate.seconds(config, 7) == {phase: of_phase.units for phase, of_phase in work.items()}
        assert not estimate.covers(config)


def test_an_algorithm_and_a_form_that_no_run_had_are_scaled_from_the_others() -> None:
    estimate, second = estimated(PLAIN), 1e-3  # of a unit of work
    for config in CONFIGS:
        assert estimate.covers(config) == (config in PLAIN)
        work = work_of(config, PLAN.sweep.dataset)
        assert estimate.seconds(config) == pytest.approx({phase: second * work[phase].units for phase in work})


def test_noise_of_single_runs_averages_out() -> None:
    same = [PLAIN[0], PLAIN[0].model_copy(update={"trial_seed": 1})]
    estimate = estimated(same, lambda config: {"training": 4.0 - 2 * config.trial_seed})
    assert estimate.seconds(PLAIN[0])["training"] == pytest.approx(3)


def test_only_done_runs_of_the_plan_count_and_one_that_two_arms_share_once() -> None:
    plan = planned(arms=[{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "again"}], search_space={}, draws=1)
    folders = dict.fromkeys(run.folder for run in plan.runs)
    statuses = dict(zip(folders, (RunStatus.DONE, RunStatus.STOPPED), strict=True))
    results = {
        folder: RunResult(folder, RunState(status, None, 9, 1), seconds={"training": 7.0})
        for folder, status in {**statuses, "of an older plan": RunStatus.DONE}.items()
    }
    estimate = estimate_from_runs(plan, results)
    assert estimate.seconds(plan.runs[0].config)["training"] == pytest.approx(7.0)
    assert estimate.seconds(plan.runs[1].config)["training"] == pytest.approx(7.0 * 4 / 5)  # a pair of test domains


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "limit", "at_once"),
    [
        ({}, 4, 0, None, 4),
        ({"cpus": 0.25}, 4, 0, None, 16),
        ({"cpus": 3}, 8, 0, None, 2),
        ({"cpus": 2, "gpus": 1}, 16, 4, None, 4),
        ({"cpus": 8, "gpus": 1}, 16, 4, None, 2),
        ({"cpus": 1, "gpus": 0.3333}, 16, 4, None, 12),
        ({"cpus": 1, "gpus": "auto"}, 16, 4, None, 4),
        ({"max_concurrent": 3}, 16, 0, None, 3),
        ({"max_concurrent": 3}, 16, 0, 2, 2),
        ({"cpus": 2, "gpus": 1}, 16, 0, None, 1),  # planned on a machine without one
    ],
)
def test_as_many_runs_at_once_as_the_devices_allow(
    resources: dict[str, Any], cpus: float, gpus: float, limit: int | None, at_once: int
) -> None:
    assert runs_at_once(ResourcesConfig(**resources), cpus, gpus, limit) == at_once


@pytest.mark.parametrize(
    ("resources", "threads", "at_once"),
    [({}, 2, 2), ({"cpus": 0.25}, 1, 4), ({"gpus": 0.5, "cpus": 0.5}, 1, 1)],
)
def test_runs_that_share_no_device_are_fewer(resources: dict[str, Any], threads: int, at_once: int) -> None:
    """As seconds of a run alone need: two threads need two CPUs, and runs on one GPU share its time."""
    assert runs_at_once(undivided(ResourcesConfig(**resources), threads), cpus=4, gpus=1) == at_once


@pytest.mark.parametrize(
    ("seconds", "at_once", "shared", "left"),
    [([], 2, 0, 0), ([6, 4, 2], 2, 0, 6), ([6, 4, 2], 1, 2, 10), ([6, 4, 2], 100, 0, 6), ([6, 4, 2], 0, 0, 12)],
)
def test_no_wall_clock_time_is_shorter_than_the_longest_run(
    seconds: list[float], at_once: int, shared: float, left: float
) -> None:
    assert wall_clock(seconds, at_once, shared) == left
