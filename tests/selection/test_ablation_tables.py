"""docs/studies/ablation_tables.py: its arms are those of the sweep files, its numbers those of the definition."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from scipy import stats
from selection_records import run, view

from gga_sweep.report.make_report import Report
from gga_sweep.report.wording import ABSENT
from gga_sweep.selection import build_table, compare
from gga_sweep.spec.arms import expand_arms
from gga_sweep.spec.models import SweepConfig

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs/studies/ablation_tables.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablation_tables", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["gga-ablation", "findings-pretrained"])
def test_every_arm_of_a_contrast_is_an_arm_of_the_sweep(script: ModuleType, name: str) -> None:
    config = SweepConfig.model_validate(yaml.safe_load((ROOT / f"search_spaces/{name}.yaml").read_text()))
    arms = {arm.name for arm in expand_arms(config)}
    plan = script.PLANS[name]
    used = {arm for contrast in plan.contrasts for arm in (*contrast.arms, contrast.baseline)}
    assert used | {plan.controlled} <= arms


@pytest.mark.parametrize("estimand", ["selected", "matched"])
def test_a_contrast_is_the_mean_over_its_arms_within_a_trial_seed(script: ModuleType, estimand: str) -> None:
    arms, seeds, domains = ("ERM", "a", "b"), (0, 1, 2, 3), (("art",), ("sketch",))
    accuracy = np.random.default_rng(0).uniform(0.2, 0.9, size=(3, 2, 4))
    runs = [
        run([0.5], [accuracy[i, j, k]], arm=arm, test_domains=domain, trial_seed=seed)
        for i, arm in enumerate(arms)
        for j, domain in enumerate(domains)
        for k, seed in enumerate(seeds)
    ]
    sweep = view(runs, arms=arms, test_domains=domains, trial_seeds=seeds, draws=dict.fromkeys(arms, (0,)))
    table = build_table(sweep)
    contrasts = (script.Contrast("both", ("a", "b"), "ERM"), script.Contrast("one", ("a",), "b"))
    plan = script.Plan(estimand, contrasts, "a")
    report = Report(sweep, table, compare(replace(sweep, baselines={}), table))
    both, one = script.differences(report, plan)
    of_seeds = accuracy.mean(axis=1)
    assert both.values == pytest.approx(tuple(of_seeds[1:].mean(axis=0) - of_seeds[0]))
    assert one.values == pytest.approx(tuple(of_seeds[1] - of_seeds[2]))
    assert one.p == pytest.approx(stats.ttest_rel(of_seeds[1], of_seeds[2]).pvalue)
    assert script.primary_table(report, plan).count("\n") == 3


def test_the_other_tables_have_the_numbers_of_the_definition(script: ModuleType) -> None:
    arms, seeds = ("ERM", "near", "far", "Control any"), (0, 1, 2, 3)
    accuracy = np.random.default_rng(1).uniform(0.2, 0.9, size=(4, 4))
    runs = [run([0.5], [accuracy[i, seed]], arm=arm, trial_seed=seed) for i, arm in enumerate(arms) for seed in seeds]
    same = {"algorithm": "ERM", "annealing": "gga", "draws": 1}
    sweep = replace(
        view(runs, arms=arms, trial_seeds=seeds, draws=dict.fromkeys(arms, (0,))),
        baselines=dict.fromkeys(arms[1:], "ERM"),
        settings={"near": {**same, "annealing.radius": 0.1}, "far": {**same, "annealing.radius": 0.2}},
        blocks={"near": "ERM + GGA", "far": "ERM + GGA"},
    )
    table = build_table(sweep)
    report = Report(sweep, table, compare(sweep, table))
    plan = script.Plan("selected", (), "near", ("radius",))
    means = 100 * accuracy.mean(axis=1)
    gained = [f"| {means[i] - means[0]:+.2f} [" for i in range(1, 4)]
    for row, mean, gain in zip(rows(script.arm_table(report)), means, [f"| {ABSENT} |", *gained], strict=True):
        assert f"| {mean:.1f} ± " in row
        assert gain in row
    [control] = rows(script.control_table(report, plan))
    assert control.startswith(f"| Control any | {means[1] - means[3]:+.2f} [")
    [factor] = rows(script.factor_table(report, plan))
    assert factor.startswith(f"| radius | 0.1: {means[1]:.1f}, 0.2: {means[2]:.1f} | ")


def rows(table: str) -> list[str]:
    return table.split("\n")[2:]
