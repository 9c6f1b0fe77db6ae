"""How many runs a GPU has room for, and what that changes of a plan: nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_configs import annealing_options
from sweep_content import CONTENTS, GGA, GGA_L, content

from gga_sweep.scheduling.gpu_share import MOST_RUNS, gpu_share, most_demanding, runs_a_gpu
from gga_sweep.spec import Plan, load, plan_sweep
from gga_sweep.spec.models import RunSpec
from gga_sweep.training.gpu_memory import GPUMemory


def planned(**changes: Any) -> Plan:
    return plan_sweep(load(content(**changes), storage=Path("nowhere")), CONTENTS)


@given(needed=st.integers(1, 10**12), total=st.integers(1, 10**12), cpus=st.floats(0, 100))
def test_so_many_runs_fill_nine_tenths_of_the_memory_at_most_and_one_more_would_not_fit(
    needed: int, total: int, cpus: float
) -> None:
    runs = runs_a_gpu(GPUMemory(needed, total), cpus)
    assert 1 <= runs <= MOST_RUNS
    if runs > 1:
        assert runs * needed <= 0.9 * total * (1 + 1e-9)
        assert runs <= cpus
    if runs < MOST_RUNS:
        assert (runs + 1) * needed > 0.9 * total * (1 - 1e-9) or runs + 1 > cpus


@pytest.mark.parametrize(
    ("needed", "total", "cpus", "runs"),
    [
        (10, 100, 99, 8),
        (30, 100, 99, 3),
        (31, 100, 99, 2),
        (46, 100, 99, 1),
        (100, 100, 99, 1),  # it may still fit, and has the GPU for itself
        (10, 100, 4.5, 4),
        (10, 100, 0.5, 1),
    ],
)
def test_runs_are_as_many_as_memory_and_cpus_allow(needed: int, total: int, cpus: float, runs: int) -> None:
    assert runs_a_gpu(GPUMemory(needed, total), cpus) == runs


@pytest.mark.parametrize("runs", range(1, MOST_RUNS + 1))
def test_a_gpu_holds_so_many_shares_and_no_more_as_ray_counts_them(runs: int) -> None:
    """In whole ten thousandths: an exact sixth would be rounded up, and six of them not fit."""
    ten_thousandths = round(10_000 * gpu_share(runs))
    assert runs * ten_thousandths <= 10_000 < (runs + 1) * ten_thousandths


def test_of_each_algorithm_and_form_the_run_with_the_most_images_a_step_is_measured() -> None:
    plan = planned(
        arms=[{"algorithm": "ERM"}, {"algorithm": "CORAL"}, GGA, GGA_L],
        test_domains=[["0", "75"], ["0"]],
        trial_seeds=[0],
        draws=10,
        search_space={"batch_size": {"integers": [2, 30]}, "annealing.num_candidates": {"integers": [2, 60]}},
    )
    configs = [run.config for run in plan.runs]
    found = most_demanding(configs, 6)
    largest: dict[tuple[Any, ...], int] = {}
    for config in configs:
        kind, images = kind_and_images(config)
        largest[kind] = max(images, largest.get(kind, 0))
    assert len(largest) > 4  # small and large batches compute their gradients in different ways
    assert dict(map(kind_and_images, found)) == largest
    assert len(found) == len(largest)


def kind_and_images(config: RunSpec) -> tuple[tuple[Any, ...], int]:
    annealing = annealing_options(config)
    kind = (config.algorithm, annealing.get("method"), annealing.get("domain_gradients"))
    return kind, (6 - len(config.test_domains)) * int(config.hyperparameters["batch_size"])


def test_a_runs_key_does_not_depend_on_the_share_of_a_gpu() -> None:
    """Nor does any part of its configuration: whether it is on a GPU decides how gradients are computed."""
    keys = [
        [(run.key, run.config) for run in planned(arms=[{}, GGA], resources={"gpus": gpus}).runs]
        for gpus in ("auto", 1, 0.25)
    ]
    assert keys[0] == keys[1] == keys[2]


def test_auto_is_on_a_gpu_as_far_as_checks_go() -> None:
    graphs = {"algorithm": "ERM", "annealing": {"cuda_graph": True}}
    assert planned(arms=[graphs], resources={"gpus": "auto"}).sweep.config.resources.on_gpu
    assert not planned().sweep.config.resources.on_gpu
