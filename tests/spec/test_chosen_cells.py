"""Cells that train what another sweep chose."""

from __future__ import annotations

from typing import Any

import pytest
from sweep_content import CONTENTS, GGA, content

from gga_sweep.errors import InputError
from gga_sweep.spec import load, plan_sweep

SEARCH = "training-domain validation in sweep tiny, 3 draws a cell"


def chosen(cells: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """ERM and GGA on two test domains and two trial seeds, with entries for some of their cells."""
    return content(
        **{
            "arms": [{}, GGA],
            "test_domains": [0, 75],
            "trial_seeds": [0, 1],
            "defaults": {"annealing.start_step": 2, "annealing.num_steps": 3},
            "chosen": {"search": SEARCH, "cells": cells},
            **changes,
        }
    )


def entry(arm: str, domain: int, lr: float, **more: Any) -> dict[str, Any]:
    return {"arm": arm, "test_domains": [domain], "values": {"lr": lr}, **more}


EVERY = [entry(arm, domain, 1e-3) for arm in ("ERM", "ERM + GGA") for domain in (0, 75)]


def faults(source: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(source)
    return [str(fault) for fault in caught.value.faults]


def test_each_cell_has_one_run_with_the_values_chosen_for_it() -> None:
    cells = [
        entry("ERM", 0, 1e-3),
        entry("ERM", 75, 2e-3),
        entry("ERM + GGA", 0, 3e-3),
        {**entry("ERM + GGA", 75, 4e-3), "values": {"lr": 4e-3, "annealing.radius": 1e-2}},
    ]
    plan = plan_sweep(load(chosen(cells)), CONTENTS)
    assert {(run.cell.arm, run.cell.test_domains, run.cell.trial_seed): run.hyperparameters for run in plan.runs} == {
        (cell["arm"], (str(cell["test_domains"][0]),), seed): cell["values"] for cell in cells for seed in (0, 1)
    }
    assert [run.draws for run in plan.runs] == [(0,)] * 8
    assert {run.config.hyperparameters["lr"] for run in plan.runs} == {1e-3, 2e-3, 3e-3, 4e-3}
    radii = {
        run.config.annealing.radius for run in plan.runs if run.config.annealing and run.cell.test_domains == ("75",)
    }
    assert radii == {1e-2}


def test_an_entry_of_the_trial_seed_goes_before_one_for_all() -> None:
    plan = plan_sweep(load(chosen([entry("ERM", 0, 5e-3, trial_seed=1), *EVERY])), CONTENTS)
    erm = {run.cell.trial_seed: run.hyperparameters["lr"] for run in plan.runs[:2]}
    assert erm == {0: 1e-3, 1: 5e-3}


def test_what_was_chosen_goes_before_the_files_defaults() -> None:
    plan = plan_sweep(load(chosen(EVERY, defaults={"lr": 9e-3, "batch_size": 8})), CONTENTS)
    assert {run.config.hyperparameters["lr"] for run in plan.runs} == {1e-3}
    assert {run.config.hyperparameters["batch_size"] for run in plan.runs} == {8}


def test_a_chosen_run_is_the_run_that_the_search_trained() -> None:
    search = content(
        arms=[{}], test_domains=[0], trial_seeds=[0], draws=3, search_space={"lr": {"uniform": [1e-3, 1e-2]}}
    )
    winner = plan_sweep(load(search), CONTENTS).runs[2]
    cells = [{"arm": "ERM", "test_domains": ["0"], "values": dict(winner.hyperparameters)}]
    again = content(arms=[{}], test_domains=[0], trial_seeds=[0], chosen={"search": SEARCH, "cells": cells})
    assert [run.key for run in plan_sweep(load(again), CONTENTS).runs] == [winner.key]


def test_chosen_values_replace_the_protocols_search_space() -> None:
    source = content(
        arms=[{}],
        test_domains=[0],
        trial_seeds=[0],
        protocol="domainbed",
        chosen={"search": SEARCH, "cells": [{"arm": "ERM", "test_domains": [0], "values": {"lr": 1e-3}}]},
    )
    (run,) = plan_sweep(load(source), CONTENTS).runs
    assert (dict(run.hyperparameters), run.config.hyperparameters["batch_size"]) == ({"lr": 1e-3}, 64)


CELLS_ONLY = "is replaced by `chosen`; leave it out"


@pytest.mark.parametrize(
    ("cells", "changes", "messages"),
    [
        (
            EVERY[1:],
            {},
            [
                f"chosen.cells: must hold an entry for every cell; absent, got 'ERM, test 0, trial seed {n}'"
                for n in (0, 1)
            ],
        ),
        (
            [entry("ERM", 0, 1e-3, trial_seed=0), *EVERY[1:]],
            {},
            ["chosen.cells: must hold an entry for every cell; absent, got 'ERM, test 0, trial seed 1'"],
        ),
        ([*EVERY, EVERY[0]], {}, ["chosen.cells: a cell may stand once, got 'ERM, test 0'"]),
        (
            [*EVERY, entry("ERM", 0, 1e-3, trial_seed=1), entry("ERM", 0, 1e-3, trial_seed=1)],
            {},
            ["chosen.cells: a cell may stand once, got 'ERM, test 0, trial seed 1'"],
        ),
        (
            [*EVERY, entry("EMR", 0, 1e-3)],
            {},
            ["chosen.cells[4].arm: must name an arm, got 'EMR'; did you mean 'ERM'? (allowed: ERM, ERM + GGA)"],
        ),
        (
            [*EVERY, entry("ERM", 15, 1e-3)],
            {},
            ["chosen.cells[4].test_domains: must be the sweep's, got '15' (allowed: 0, 75)"],
        ),
        (
            [*EVERY, entry("ERM", 0, 1e-3, trial_seed=7)],
            {},
            ["chosen.cells[4].trial_seed: must be the sweep's, got 7 (allowed: 0, 1)"],
        ),
        (
            [*EVERY[:3], {**EVERY[3], "values": {"lr": -1.0}}],
            {},
            ["chosen.cells[3].values.lr: must lie in (0, 100], got -1.0"],
        ),
        (
            [*EVERY[:3], {**EVERY[3], "values": {"annealing.start_step": 299}}],
            {},
            ["defaults.annealing.num_steps: the window 299..301 must end by the last step, 299, got 3"],
        ),
        (
            [{**EVERY[0], "values": {"rl": 1.0}}, *EVERY[1:]],
            {},
            [
                "chosen.cells[0].values.rl: the arm has no such hyperparameter, got 1.0 (allowed: lr, batch_size, "
                "weight_decay, dropout)"
            ],
        ),
        (EVERY, {"draws": 3}, [f"draws: {CELLS_ONLY}, got 3"]),
        (EVERY, {"search_space": {"lr": {"uniform": [1e-3, 1e-2]}}}, [f"search_space: {CELLS_ONLY}, got ['lr']"]),
        (
            EVERY,
            {"selection": ["training-domain-validation", "leave-one-domain-out"]},
            ["selection: has no draws to select among, since they were chosen before, got 'leave-one-domain-out'"],
        ),
    ],
)
def test_each_fault_of_what_was_chosen_is_one_message(
    cells: list[dict[str, Any]], changes: dict[str, Any], messages: list[str]
) -> None:
    assert faults(chosen(cells, **changes)) == messages


def test_a_value_that_the_arm_fixes_cannot_be_chosen() -> None:
    source = chosen(
        [{"arm": "ERM, lr 0.01", "test_domains": [0], "values": {"lr": 1e-3}}], arms=[{"vary": {"lr": [1e-2]}}]
    )
    source |= {"test_domains": [0], "defaults": {}}
    assert faults(source) == ["chosen.cells[0].values.lr: is fixed by the arm, got 0.001 (allowed: 0.01)"]


def test_a_grid_is_no_search_where_all_is_chosen() -> None:
    assert f"search: {CELLS_ONLY}, got 'grid'" in faults(chosen(EVERY, search="grid"))
