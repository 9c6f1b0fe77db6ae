"""What is counted of a run, against a walk through its steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import annealing_of, run_config
from sweep_content import CONTENTS, GGA, GGA_L, content

from gga_sweep.annealing import FRESH_MASKS
from gga_sweep.annealing import options as methods
from gga_sweep.records import Scalar
from gga_sweep.spec import load, plan_sweep
from gga_sweep.spec.counted_work import (
    DIAGNOSTIC_SCORINGS,
    PROBE_IMAGES,
    TYPICAL_NEW_BESTS,
    annealed_steps,
    evaluations,
    form_of,
    work_of,
)
from gga_sweep.spec.models import RunSpec
from gga_sweep.training import evaluation

GUIDED = {"algorithm": "ERM", "annealing": {"variant": "guided"}}
CONSTANT = {"algorithm": "ERM", "name": "constant", "annealing": {"method": "gga-l", "alpha": "constant"}}
PLAN = plan_sweep(
    load(
        content(
            arms=[{"algorithm": "SAM"}, GGA, GUIDED, GGA_L, CONSTANT],
            test_domains=[["0"], ["0", "75"]],
            training={"steps": 250},
        ),
        storage=Path("nowhere"),
    ),
    CONTENTS,
)
RUN = next(run.config for run in PLAN.runs if run.config.annealing)
CONFIGS = list({(run.cell.arm, run.cell.test_domains): run.config for run in PLAN.runs}.values())


@given(steps=st.integers(1, 500), every=st.integers(1, 600), trained=st.integers(0, 510))
def test_evaluations_are_counted_as_the_trainer_makes_them(steps: int, every: int, trained: int) -> None:
    training = RUN.training.model_copy(update={"steps": steps, "evaluate_every": every})
    walked = sum(step % every == 0 or step == steps - 1 for step in range(trained, steps))
    assert evaluations(training, trained) == walked


@given(steps=st.integers(1, 50), start=st.integers(0, 60), number=st.integers(1, 60), trained=st.integers(0, 60))
def test_annealed_steps_are_those_of_the_window_that_are_to_come(
    steps: int, start: int, number: int, trained: int
) -> None:
    training = RUN.training.model_copy(update={"steps": steps})
    annealing = methods.GGA(start_step=start, num_steps=number)
    config = RUN.model_copy(update={"training": training, "annealing": annealing})
    assert annealed_steps(config, trained) == len(set(range(trained, steps)) & set(range(start, start + number)))


def test_a_run_without_a_window_has_no_annealed_steps() -> None:
    assert annealed_steps(RUN.model_copy(update={"annealing": None})) == 0


def walked_evaluation(config: RunSpec, step: int) -> float:
    units = 0.0
    new_bests = min(1.0, TYPICAL_NEW_BESTS / (len(config.training.evaluated_steps) - 1))
    for domain, size in PLAN.sweep.dataset.domain_sizes.items():
        tested, validation = domain in config.test_domains, int(0.2 * size)
        if config.training.evaluate == "all":
            units += size / 3 + (32 if tested else 64)
        elif not tested:
            units += validation / 3
        else:
            units += (size if step == config.training.steps - 1 else new_bests * (size - validation)) / 3
    return units


def walked(config: RunSpec, trained: int) -> dict[str, float]:
    """Images forward and backward, step by step."""
    annealing = config.annealing
    sizes = PLAN.sweep.dataset.domain_sizes
    batch = int(config.hyperparameters["batch_size"])
    images = batch * (len(sizes) - len(config.test_domains))
    units = {"training": 0.0, "evaluation": 0.0}
    if isinstance(annealing, methods.GGA):
        units |= {"search": 0.0, "diagnostics": 0.0}
    for step in range(trained, config.training.steps):
        units["training"] += images * (2 if config.algorithm == "SAM" else 1)
        if isinstance(annealing, methods.GGAL) and annealing.alpha == "adaptive":
            units["training"] += images
        if isinstance(annealing, methods.GGA) and step in annealing.window:
            units["search"] += images * (1 + annealing.num_candidates)
            units["search"] += 6 * batch if annealing.direction == "gradient" else 0
            diagnosed = annealing.diagnose_every and (step - annealing.start_step) % annealing.diagnose_every == 0
            scorings = 10 if config.hyperparameters["dropout"] or config.training.network != "small-cnn" else 2
            units["diagnostics"] += scorings * images if diagnosed else 0
        if step in config.training.evaluated_steps:
            units["evaluation"] += walked_evaluation(config, step)
    return units


@given(
    config=st.sampled_from(CONFIGS),
    batch=st.integers(1, 64),
    trained=st.integers(0, 255),
    training=st.fixed_dictionaries(
        {
            "evaluate": st.sampled_from(["all", "selection"]),
            "evaluate_every": st.sampled_from([10, 50, 90]),
            "network": st.sampled_from(["small-cnn", "own:network"]),
        }
    ),
    dropout=st.sampled_from([0.0, 0.5]),
    diagnose_every=st.integers(0, 12),
)
def test_the_work_of_a_run_is_that_of_its_steps_to_come(
    config: RunSpec, batch: int, trained: int, training: dict[str, Any], dropout: float, diagnose_every: int
) -> None:
    if isinstance(config.annealing, methods.GGA):
        config = config.model_copy(update={"annealing": replace(config.annealing, diagnose_every=diagnose_every)})
    config = config.model_copy(
        update={
            "hyperparameters": {**config.hyperparameters, "batch_size": batch, "dropout": dropout},
            "training": config.training.model_copy(update=training),
        }
    )
    found = {phase: work.units for phase, work in work_of(config, PLAN.sweep.dataset, trained).items()}
    assert found == pytest.approx(walked(config, trained))


@pytest.mark.parametrize(
    ("network", "size", "polar"), [("small-cnn", 28, 25.5), ("resnet18", 64, 97.7), ("timm/test_vit", 224, 8.0)]
)
def test_polar_factors_count_as_images_of_which_fewer_large_ones_take_as_long(
    network: str, size: int, polar: float
) -> None:
    """As `tests/benchmarks/algorithm_cost.py` measures them: 22.8 small images, 99.1 of 64 x 64, 8.4 of 224 x 224."""
    dataset = replace(PLAN.sweep.dataset, image_shape=(3, size, size))

    def a_step(algorithm: str, **changes: Any) -> float:
        training = RUN.training.model_copy(update={"network": network, **changes})
        config = RUN.model_copy(update={"annealing": None, "algorithm": algorithm, "training": training})
        return work_of(config, dataset)["training"].units / training.steps

    assert a_step("SAGE") == pytest.approx(a_step("SAM") + polar, abs=0.05)
    assert a_step("SAGE", trainable="head") == a_step("SAM")


def test_counts_agree_with_what_is_done() -> None:
    assert DIAGNOSTIC_SCORINGS == 2 * (FRESH_MASKS + 1)
    assert PROBE_IMAGES == evaluation.PROBE_IMAGES


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"start_step": 0, "num_steps": 7, "radius": 1.0, "num_candidates": 9, "loss_tolerance": 0.0}, True),
        ({"origin": "current"}, False),
        ({"mask": "forward"}, False),
        ({"joint_loss": "forward"}, False),
        ({"domain_gradients": "layerwise"}, False),
    ],
)
def test_the_form_of_an_annealing_is_its_choices_not_its_numbers(changes: dict[str, Scalar], same: bool) -> None:
    assert (form_of(run_config(annealing_of(**changes))) == form_of(run_config(annealing_of()))) is same
