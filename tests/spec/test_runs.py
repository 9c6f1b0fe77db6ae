"""A plan: cells times draws, paired where they should be, and equal runs once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sweep_content import CONTENTS, GGA, GGA_L, content, on_tree, two_arms, write_tree

from gga_sweep import annealing
from gga_sweep.algorithms import ALGORITHMS
from gga_sweep.records import Cell, Scalar
from gga_sweep.spec import (
    Contents,
    Plan,
    PlannedRun,
    SweepSpec,
    load,
    outline_sweep,
    plan_sweep,
    read_contents,
    searched_run,
)


def plan(source: dict[str, Any]) -> Plan:
    return plan_sweep(load(source), CONTENTS)


def keys(runs: Iterable[PlannedRun]) -> list[str]:
    assert all(run.key is not None for run in runs)
    return [run.key for run in runs]


def of_arm(found: Plan, arm: str) -> list[PlannedRun]:
    return [run for run in found.runs if run.cell.arm == arm]


def test_a_plan_holds_every_draw_of_every_cell_in_order() -> None:
    found = plan(two_arms())
    assert [(run.cell, run.draws) for run in found.runs] == [
        (Cell("RotatedDigits", arm, (domain,), seed), (draw,))
        for arm in ("ERM", "ERM + GGA")
        for domain in ("0", "75")
        for seed in (0, 1)
        for draw in (0, 1, 2)
    ]
    assert len(set(keys(found.runs))) == len(found.configs) == 24
    assert all(run.config == found.configs[run.key] for run in found.runs)


def test_a_run_is_its_cell_its_values_and_the_training_block() -> None:
    run = plan(two_arms()).runs[-1]
    assert (run.config.test_domains, run.config.trial_seed, run.config.algorithm) == (("75",), 1, "ERM")
    assert run.config.hyperparameters == {
        "lr": run.hyperparameters["lr"],
        "batch_size": 32,
        "weight_decay": 0.0,
        "dropout": 0.0,
    }
    assert run.config.annealing is not None
    assert run.config.annealed_steps == range(2, 5)
    assert run.config.training == load(two_arms()).training


def test_an_annealed_run_names_its_method_and_every_setting() -> None:
    found = plan(content(arms=[{}, GGA, GGA_L], test_domains=[0], trial_seeds=[0], protocol="gga-paper"))
    assert [run.config.annealing for run in found.runs] == [
        None,
        annealing.GGA(diagnose_every=10),
        annealing.GGAL(),
    ]
    assert ["+gga_" in run.folder for run in found.runs] == [False, True, False]
    assert ["+gga-l_" in run.folder for run in found.runs] == [False, False, True]


def test_fields_of_gga_l_are_drawn_for_its_arms_alone() -> None:
    space = {"annealing.gamma": {"loguniform": [1e-4, 1e-2]}, "annealing.noise": {"choice": ["uniform"]}}
    found = plan(content(arms=[{}, GGA, GGA_L], test_domains=[0], trial_seeds=[0], draws=4, search_space=space))
    assert [run.draws for run in of_arm(found, "ERM") + of_arm(found, "ERM + GGA")] == [(0, 1, 2, 3)] * 2
    noisy = of_arm(found, "ERM + GGA-L")
    assert [run.draws for run in noisy] == [(0,), (1,), (2,), (3,)]
    assert noisy[0].hyperparameters == {"annealing.gamma": 1e-3, "annealing.noise": "gaussian"}
    gammas = {float(run.hyperparameters["annealing.gamma"]) for run in noisy[1:]}
    assert len(gammas) == 3
    assert all(1e-4 <= gamma <= 1e-2 for gamma in gammas)
    assert {run.hyperparameters["annealing.noise"] for run in noisy[1:]} == {"uniform"}


def test_draws_that_differ_in_what_does_not_apply_are_one_run() -> None:
    space = {
        "annealing.alpha": {"choice": ["adaptive", "constant"]},
        "annealing.domain_gradients": {"choice": ["loop", "layerwise"]},
    }
    source = content(arms=[GGA_L], test_domains=[0], trial_seeds=[0], search="grid", search_space=space)
    outline = outline_sweep(load(source))
    for planned in (plan(source), outline):
        assert [run.draws for run in planned.runs] == [(0,), (1,), (2, 3)]
    assert not isinstance(outline, Plan)


def test_draw_0_is_the_defaults_and_the_others_lie_in_the_range() -> None:
    for run in plan(two_arms()).runs:
        lr = float(run.config.hyperparameters["lr"])
        assert (lr == 1e-3) == (run.draws == (0,))
        assert 3e-4 <= lr <= 3e-3
        assert run.hyperparameters == {"lr": lr}


def test_arms_and_test_domains_share_their_draws_and_trial_seeds_do_not() -> None:
    drawn: dict[tuple[int, int], set[Scalar]] = {}
    for run in plan(two_arms()).runs:
        drawn.setdefault((run.cell.trial_seed, run.draws[0]), set()).add(run.config.hyperparameters["lr"])
    assert {len(values) for values in drawn.values()} == {1}
    assert drawn[0, 1] != drawn[1, 1]
    assert drawn[0, 1] != drawn[0, 2]
    assert drawn[0, 0] == drawn[1, 0] == {1e-3}


@pytest.mark.parametrize("protocol", ["domainbed", "domainbed-head"])
def test_all_algorithms_share_what_a_protocol_draws_for_all(protocol: str) -> None:
    arms = [{"algorithm": name} for name in ALGORITHMS]
    source = content(arms=arms, test_domains=[0], trial_seeds=[0], draws=4, protocol=protocol)
    drawn: dict[tuple[int, str], set[Scalar]] = {}
    for run in plan(source).runs:
        for name in ("lr", "batch_size", "dropout"):
            drawn.setdefault((run.draws[0], name), set()).add(run.config.hyperparameters[name])
    assert {len(values) for values in drawn.values()} == {1}
    assert len({*drawn[1, "lr"], *drawn[2, "lr"], *drawn[3, "lr"]}) == 3


def test_another_searched_name_moves_no_draw_of_the_first() -> None:
    space = {"lr": {"loguniform": [3e-4, 3e-3]}, "dropout": {"uniform": [0, 0.5]}}
    one, two = plan(two_arms()), plan(two_arms(search_space=space))
    assert [run.config.hyperparameters["lr"] for run in one.runs] == [
        run.config.hyperparameters["lr"] for run in two.runs
    ]
    assert {float(run.config.hyperparameters["dropout"]) > 0 for run in two.runs if run.draws != (0,)} == {True}


@pytest.mark.parametrize(
    "changes",
    [
        {"draws": 5},
        {"trial_seeds": [0, 1, 2]},
        {"test_domains": [75, 15, 0]},
        {"arms": [{}, GGA, {"annealing": {"variant": "released"}}]},
        {"arms": [GGA_L, {"annealing": {"variant": "guided"}}, {}, GGA]},
        {"arms": [GGA, {}]},
        {"name": "other"},
        {"resources": {"cpus": 2}},
        {"resources": {"cpus": 2, "workers": 0}},
    ],
)
def test_extending_or_renaming_a_sweep_changes_no_key(changes: dict[str, Any]) -> None:
    before, after = plan(two_arms()), plan(two_arms(**changes))
    assert set(keys(before.runs)) <= set(keys(after.runs))
    assert {run.folder for run in before.runs} <= {run.folder for run in after.runs}


def test_the_arms_name_is_not_in_the_key() -> None:
    renamed = plan(two_arms(arms=[{"name": "a"}, {"name": "b", "annealing": {}}]))
    assert keys(renamed.runs) == keys(plan(two_arms()).runs)


def test_two_arms_that_come_out_equal_share_their_runs() -> None:
    found = plan(content(arms=[{}, {"name": "by factor", "vary": {"lr": [1e-3]}}], test_domains=[0], draws=1))
    assert [run.cell.arm for run in found.runs[::3]] == ["ERM", "by factor, lr 1e-3"]
    assert keys(found.runs[:3]) == keys(found.runs[3:])
    assert len(found.configs) == 3


def test_an_arm_without_search_is_one_run_with_all_draws() -> None:
    defaults = {**two_arms()["defaults"], "annealing.num_candidates": 4}
    searched = {"annealing.num_candidates": {"choice": [4, 8, 16]}}
    found = plan(two_arms(search_space=searched, draws=6, defaults=defaults))
    assert [run.draws for run in of_arm(found, "ERM")] == [tuple(range(6))] * 4
    assert all(run.hyperparameters == {} for run in of_arm(found, "ERM"))
    annealed = of_arm(found, "ERM + GGA")
    for cell in {run.cell for run in annealed}:
        of_cell = [run for run in annealed if run.cell == cell]
        assert sorted(number for run in of_cell for number in run.draws) == list(range(6))
        assert len(of_cell) == len({run.hyperparameters["annealing.num_candidates"] for run in of_cell})


def test_equal_draws_are_one_run_under_all_their_numbers() -> None:
    found = plan(content(test_domains=[0], trial_seeds=[0], draws=8, search_space={"lr": {"choice": [1e-3, 1e-2]}}))
    assert len(found.runs) == 2
    assert found.runs[0].draws[0] == 0
    assert found.runs[0].config.hyperparameters["lr"] == 1e-3
    assert sorted(found.runs[0].draws + found.runs[1].draws) == list(range(8))
    assert all(list(run.draws) == sorted(run.draws) for run in found.runs)


def test_points_of_a_grid_are_draws_and_equal_points_one_run() -> None:
    space = {"lr": {"choice": [1e-2, 1e-3, 0.01]}, "batch_size": {"choice": [8, 16]}}
    found = plan(content(test_domains=[0], trial_seeds=[0], search="grid", search_space=space))
    assert [(run.draws, run.hyperparameters) for run in found.runs] == [
        ((0, 4), {"lr": 1e-2, "batch_size": 8}),
        ((1, 5), {"lr": 1e-2, "batch_size": 16}),
        ((2,), {"lr": 1e-3, "batch_size": 8}),
        ((3,), {"lr": 1e-3, "batch_size": 16}),
    ]


def test_a_whole_number_and_the_same_as_a_float_are_one_run() -> None:
    space = {"lr": {"choice": [1, 1.0]}, "batch_size": {"choice": [8, 8.0]}, "annealing.radius": {"choice": [1, 1.0]}}
    source = content(arms=[GGA], test_domains=[0], trial_seeds=[0], search="grid", search_space=space)
    [run] = plan(source).runs
    assert run.draws == tuple(range(8))
    assert repr(run.config.hyperparameters["lr"]) == "1.0"
    assert repr(run.config.hyperparameters["batch_size"]) == "8"
    noise = {"annealing.gamma": {"choice": [1, 1.0]}}
    source = content(arms=[GGA_L], test_domains=[0], trial_seeds=[0], search="grid", search_space=noise)
    [run] = plan(source).runs
    assert run.config.annealing is not None
    assert repr(run.config.annealing.gamma) == "1.0"


def test_an_arm_with_draws_of_its_own_shares_the_first_of_them() -> None:
    found = plan(two_arms(arms=[{"draws": 2}, {**GGA, "draws": 4}]))
    lr = {(run.cell.arm, run.cell.trial_seed, run.draws): run.config.hyperparameters["lr"] for run in found.runs}
    assert {draws for arm, _, draws in lr if arm == "ERM"} == {(0,), (1,)}
    assert {draws for arm, _, draws in lr if arm == "ERM + GGA"} == {(0,), (1,), (2,), (3,)}
    assert all(value == lr["ERM + GGA", seed, draws] for (_, seed, draws), value in lr.items())


def test_a_factor_is_never_drawn() -> None:
    space = {"lr": {"loguniform": [3e-4, 3e-3]}, "annealing.radius": {"loguniform": [1e-6, 1e-3]}}
    defaults = {**two_arms()["defaults"], "annealing.radius": 1e-5}
    arms = [{}, {**GGA, "vary": {"annealing.radius": [1e-5, 1e-2]}}]
    for run in plan(two_arms(arms=arms, search_space=space, defaults=defaults)).runs:
        assert run.hyperparameters.keys() == {"lr"}
        if run.config.annealing is not None:
            assert run.config.annealing.radius == (1e-5 if run.cell.arm.endswith("1e-5") else 1e-2)


def test_domainbeds_draws_are_those_of_domainbed() -> None:
    found = plan(
        content(protocol="domainbed", dataset={"name": "PACS"}, draws=2, trial_seeds=[1], test_domains=["photo"])
    )
    assert [run.config.hyperparameters for run in found.runs if run.draws == (0,)] == [
        {"lr": 5e-5, "batch_size": 32, "weight_decay": 0.0, "dropout": 0.0}
    ]
    row = np.random.RandomState(_seed_hash(1, 1))
    drawn = {
        "dropout": row.choice([0.0, 0.1, 0.5]),
        "lr": 10 ** row.uniform(-5, -3.5),
        "batch_size": int(2 ** row.uniform(3, 5.5)),
        "weight_decay": 10 ** row.uniform(-6, -2),
    }
    assert [run.config.hyperparameters for run in found.runs if run.draws == (1,)] == [drawn]


def _seed_hash(*args: object) -> int:
    return int(hashlib.md5(str(args).encode()).hexdigest(), 16) % 2**31


def test_a_benchmark_without_images_has_an_outline() -> None:
    found = outline_sweep(load(content(dataset={"name": "PACS"}, draws=2)))
    assert len(found.runs) == len(found.configs) == 4 * 3  # four domains, three seeds; both draws are the defaults


def test_a_changed_image_changes_every_key_and_a_moved_tree_none(tmp_path: Path) -> None:
    def keys_of(root: Path) -> list[str]:
        sweep = load(on_tree(root), storage=tmp_path / "storage")
        return keys(plan_sweep(sweep, read_contents(sweep)).runs)

    tree = write_tree(tmp_path / "tree")
    before = keys_of(tree)
    moved = tree.rename(tmp_path / "moved")
    assert keys_of(moved) == before
    Image.new("RGB", (16, 16)).save(moved / "sketch" / "dog" / "3.png")
    assert set(keys_of(moved)).isdisjoint(before)


def test_the_stored_image_size_is_part_of_the_key(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")

    def keys_of(dataset: dict[str, Any]) -> list[str]:
        sweep = load(on_tree(tree, dataset={"name": "ImageFolder", "root": str(tree), **dataset}))
        return keys(plan_sweep(sweep, CONTENTS).runs)

    assert keys_of({}) == keys_of({"image_size": 224})
    assert set(keys_of({})).isdisjoint(keys_of({"image_size": 16}))


def test_a_weights_file_stands_in_the_key_by_its_content(tmp_path: Path) -> None:
    def keys_of(path: Path) -> list[str]:
        sweep = load(content(training={"weights": str(path)}))
        return keys(plan_sweep(sweep, read_contents(sweep)).runs)

    (tmp_path / "a.pt").write_bytes(b"weights")
    (tmp_path / "b.pt").write_bytes(b"weights")
    (tmp_path / "c.pt").write_bytes(b"other weights")
    assert keys_of(tmp_path / "a.pt") == keys_of(tmp_path / "b.pt")
    assert set(keys_of(tmp_path / "a.pt")).isdisjoint(keys_of(tmp_path / "c.pt"))


def test_contents_are_the_same_with_and_without_a_cache_of_digests(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    storage = tmp_path / "storage"
    without = read_contents(load(on_tree(tree), storage=storage))
    assert not storage.exists()
    storage.mkdir()
    assert read_contents(load(on_tree(tree), storage=storage)) == without == Contents(without.dataset)


SEARCHED = {"arm": "ERM + GGA", "test_domain": "75", "trial_seed": 1}


def test_a_searchers_run_has_the_key_of_the_equal_planned_run() -> None:
    sweep = load(two_arms())
    for planned in plan_sweep(sweep, CONTENTS).runs:
        configuration = {
            "arm": planned.cell.arm,
            "test_domain": planned.cell.test_domains[0],
            "trial_seed": planned.cell.trial_seed,
            **planned.hyperparameters,
        }
        searched = searched_run(sweep, CONTENTS, configuration)
        assert (searched.key, searched.cell, searched.config) == (planned.key, planned.cell, planned.config)
        assert searched.draws == (int(planned.key[:8], 16),)


def test_a_searchers_values_become_hyperparameters() -> None:
    run = searched_run(load(two_arms()), CONTENTS, {**SEARCHED, "lr": 0.05, "annealing.radius": 1e-2})
    assert run.config.hyperparameters["lr"] == 0.05
    assert run.config.annealing is not None
    assert run.config.annealing.radius == 1e-2
    assert run.hyperparameters == {"lr": 0.05, "annealing.radius": 1e-2}


def test_a_searchers_names_that_the_arm_lacks_or_fixes_do_not_apply() -> None:
    arms = [{}, {"name": "fixed", "annealing": {"radius": 1e-3}}, {"name": "varied", "vary": {"lr": [1e-3]}}]
    sweep = load(two_arms(arms=arms, search_space={}))
    asked = {"test_domain": "0", "trial_seed": 0, "annealing.radius": 0.5, "dropout": 0.25}
    expected = {"ERM": {"dropout": 0.25}, "fixed": {"dropout": 0.25}, "varied, lr 1e-3": {"dropout": 0.25}}
    for arm, hyperparameters in expected.items():
        run = searched_run(sweep, CONTENTS, {"arm": arm, **asked})
        assert run.hyperparameters == hyperparameters
        assert run.config.annealing is None or run.config.annealing.radius == 1e-3
    varied = searched_run(sweep, CONTENTS, {"arm": "varied, lr 1e-3", **asked, "lr": 0.5})
    assert varied.config.hyperparameters["lr"] == 1e-3
    assert varied.hyperparameters == {"dropout": 0.25}


def test_a_searcher_may_try_a_set_of_test_domains_by_its_joined_name() -> None:
    sweep = load(content(test_domains=[[0, 75], 15]))
    run = searched_run(sweep, CONTENTS, {"arm": "ERM", "test_domain": "0+75", "trial_seed": 0})
    assert run.config.test_domains == ("0", "75")


@cache
def two_arm_sweep() -> SweepSpec:
    return load(two_arms())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), lr=st.floats(1e-6, 1.0))
def test_equal_configurations_of_a_searcher_are_one_run(seed: int, lr: float) -> None:
    sweep = two_arm_sweep()
    configuration = {**SEARCHED, "trial_seed": seed, "lr": lr}
    one = searched_run(sweep, CONTENTS, configuration)
    assert one == searched_run(sweep, CONTENTS, dict(reversed(configuration.items())))
    assert one.key != searched_run(sweep, CONTENTS, {**configuration, "lr": lr * 1.5}).key


PAIRED = {"selection": ["training-domain-validation", "leave-one-domain-out"]}


def test_leave_one_domain_out_adds_each_pair_of_a_test_domain_and_another_once() -> None:
    found = plan(content(test_domains=[0, 30], trial_seeds=[0], **PAIRED))
    domains = ["0", "15", "30", "45", "60", "75"]
    pairs = {frozenset((held_out, other)) for held_out in ("0", "30") for other in domains if other != held_out}
    added = [run.cell.test_domains for run in found.runs if len(run.cell.test_domains) == 2]
    assert sorted(map(sorted, added)) == sorted(map(sorted, pairs))
    assert [run.cell.test_domains for run in found.runs[:2]] == [("0",), ("30",)]


def test_each_method_trains_the_runs_it_needs_and_no_others() -> None:
    for methods in (["training-domain-validation"], ["training-domain-validation", "oracle"], ["shared-draw"]):
        assert all(len(run.cell.test_domains) == 1 for run in plan(content(selection=methods)).runs)
    assert len(plan(content(trial_seeds=[0], **PAIRED)).runs) == 6 + 15  # n (n + 1) / 2 for n = 6 domains


def test_a_pair_has_the_draws_of_its_test_domains() -> None:
    found = plan(two_arms(**PAIRED))
    values = {
        (run.cell.arm, run.cell.trial_seed, run.draws): run.hyperparameters
        for run in found.runs
        if run.cell.test_domains == ("75",)
    }
    pairs = [run for run in found.runs if len(run.cell.test_domains) == 2]
    assert pairs
    assert all(run.hyperparameters == values[run.cell.arm, run.cell.trial_seed, run.draws] for run in pairs)


def test_the_runs_of_pairs_change_no_key() -> None:
    alone, paired = (plan(two_arms(**more)) for more in ({}, PAIRED))
    assert set(keys(alone.runs)) < set(keys(paired.runs))
