"""What finished runs teach of the others, against laws that their seconds follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from run_configs import annealing_options
from sweep_content import CONTENTS, GGA, GGA_L, content

from gga_sweep.annealing import FRESH_MASKS
from gga_sweep.records import RunResult, RunState, RunStatus
from gga_sweep.scheduling.cost_model import DIAGNOSTIC_SCORINGS, Finished, learn_costs, learned_costs
from gga_sweep.spec import Plan, load, plan_sweep
from gga_sweep.spec.models import RunSpec

GUIDED = {"algorithm": "ERM", "annealing": {"variant": "guided"}}
N_DOMAINS = 6  # of RotatedDigits
EVALUATED = (0, 100, 200, 249)


def planned(**changes: Any) -> Plan:
    """Four arms whose draws differ in batch size, window and candidates; pairs of test domains too."""
    return plan_sweep(
        load(
            content(
                **{
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
            ),
            storage=Path("nowhere"),
        ),
        CONTENTS,
    )


PLAN = planned()
CONFIGS = [run.config for run in PLAN.runs]


def law(fixed: Mapping[str, float], config: RunSpec, trained: int = 0) -> dict[str, float]:
    """Seconds that a walk through the steps adds up; what a pass costs beside its images, in images, by phase."""
    annealing = annealing_options(config)
    domains, batch = N_DOMAINS - len(config.test_domains), int(config.hyperparameters["batch_size"])
    of_algorithm = {"ERM": 1e-3, "CORAL": 1.7e-3}[config.algorithm]
    of_search = 5e-4 if annealing.get("direction") == "random" else 3e-3
    seconds = {"training": 0.0, "evaluation": 0.0}
    if annealing.get("method") == "gga":
        seconds |= {"search": 0.0, "diagnostics": 0.0}
    for step in range(trained, config.training.steps):
        scored = 3 if annealing.get("method") == "gga-l" else 1
        seconds["training"] += scored * of_algorithm * domains * (batch + fixed["training"])
        first = int(annealing.get("start_step", 10**9))
        if first <= step < first + int(annealing.get("num_steps", 0)):
            points = 1 + int(annealing["num_candidates"])
            seconds["search"] += of_search * points * domains * (batch + fixed["search"])
            seconds["diagnostics"] += 2e-3 * domains * (batch + fixed["search"])
        if step in EVALUATED:
            seconds["evaluation"] += 0.25
    return seconds


def finished(configs: Sequence[RunSpec], spent: Callable[[RunSpec], dict[str, float]]) -> list[Finished]:
    return [Finished(config, spent(config)) for config in configs]


@pytest.mark.parametrize("fixed", [{"training": 0.0, "search": 0.0}, {"training": 16.0, "search": 4.0}])
@pytest.mark.parametrize("trained", [0, 120, 250])
def test_runs_of_other_batches_windows_and_candidates_are_foretold(fixed: Mapping[str, float], trained: int) -> None:
    """From every third run: the law is found, so that all others follow it, from any step on."""
    model = learn_costs(PLAN.sweep.dataset, finished(CONFIGS[::3], lambda config: law(fixed, config)))
    assert model.known
    for config in CONFIGS:
        assert model.seconds(config, trained) == pytest.approx(law(fixed, config, trained))
        assert model.total(config, trained) == pytest.approx(sum(law(fixed, config, trained).values()))


def test_the_order_of_the_finished_runs_changes_nothing() -> None:
    runs = finished(CONFIGS[::3], lambda config: law({"training": 3.0, "search": 5.0}, config))
    model, turned = (learn_costs(PLAN.sweep.dataset, order) for order in (runs, runs[::-1]))
    for config in CONFIGS:
        assert model.total(config) == pytest.approx(turned.total(config), rel=1e-12)


def test_without_a_finished_run_work_is_counted_in_training_steps() -> None:
    """A point is scored at the price of a step, and so are the ten scorings of the diagnostics."""
    model = learn_costs(PLAN.sweep.dataset, [])
    assert not model.known
    plain = next(config for config in CONFIGS if config.annealing is None)
    step = model.seconds(plain)["training"] / plain.training.steps
    for config in CONFIGS:
        if config.test_domains != plain.test_domains:
            continue
        scale = int(config.hyperparameters["batch_size"]) / int(plain.hyperparameters["batch_size"])
        steps = {phase: value / (step * scale) for phase, value in model.seconds(config).items()}
        annealing = annealing_options(config)
        assert steps["training"] == pytest.approx(250 * (2 if annealing.get("method") == "gga-l" else 1))
        if annealing.get("method") == "gga":
            window = int(annealing["num_steps"])
            assert steps["search"] == pytest.approx(window * (1 + int(annealing["num_candidates"])))
            assert steps["diagnostics"] == pytest.approx(window * 10)


def test_an_algorithm_and_a_form_that_no_run_had_are_scaled_from_the_others() -> None:
    plain = [config for config in CONFIGS if config.algorithm == "ERM" and config.annealing is None]
    model = learn_costs(PLAN.sweep.dataset, finished(plain, lambda config: law({"training": 2.0, "search": 0}, config)))
    fresh = learn_costs(PLAN.sweep.dataset, [])
    for config in CONFIGS:
        assert model.has_met(config) == (config in plain)
        assert not fresh.has_met(config)
        like = config.model_copy(update={"algorithm": "ERM", "annealing": None})
        ratio = model.seconds(config)["training"] / model.seconds(like)["training"]
        assert ratio == pytest.approx(2 if annealing_options(config).get("method") == "gga-l" else 1)
        if annealing_options(config).get("method") == "gga":  # a point at the price of a step of ERM
            points = int(annealing_options(config)["num_steps"]) * (
                1 + int(annealing_options(config)["num_candidates"])
            )
            assert model.seconds(config)["search"] == pytest.approx(points * model.seconds(like)["training"] / 250)


def test_noise_of_single_runs_averages_out() -> None:
    """Two runs of one kind, one a third too slow and one a third too fast: their sum is foretold."""
    plain = [config for config in CONFIGS if config.algorithm == "ERM" and config.annealing is None][:2]
    spent = [{"training": 4.0}, {"training": 2.0}]
    same = [plain[0], plain[0].model_copy(update={"trial_seed": 1})]
    runs = [Finished(config, seconds) for config, seconds in zip(same, spent, strict=True)]
    model = learn_costs(PLAN.sweep.dataset, runs)
    assert model.seconds(plain[0])["training"] == pytest.approx(3)


def test_only_done_runs_of_the_plan_teach_and_one_that_two_arms_share_once() -> None:
    plan = planned(arms=[{"algorithm": "ERM"}, {"algorithm": "ERM", "name": "again"}], search_space={}, draws=1)
    folders = dict.fromkeys(str(run.folder) for run in plan.runs)
    statuses = dict(zip(folders, (RunStatus.DONE, RunStatus.STOPPED), strict=True))
    results = {
        folder: RunResult(folder, RunState(status, None, 9, 1), seconds={"training": 7.0})
        for folder, status in {**statuses, "of an older plan": RunStatus.DONE}.items()
    }
    model = learned_costs(plan, results)
    assert model.seconds(plan.runs[0].config)["training"] == pytest.approx(7.0)
    five, four = (N_DOMAINS - len(run.config.test_domains) for run in plan.runs[:2])
    assert model.seconds(plan.runs[1].config)["training"] == pytest.approx(7.0 * four / five)


def test_diagnostics_count_the_scorings_that_are_made() -> None:
    assert DIAGNOSTIC_SCORINGS == 2 * (FRESH_MASKS + 1)
