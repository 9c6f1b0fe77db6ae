"""One draw for all test domains: the best on average, each of its runs at its own best step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given, settings
from made_runs import changed_run
from random_sweeps import random_sweep, seeds
from selection_records import run

from gga_sweep.records import Cell, RunRecords
from gga_sweep.selection import Selected, select

METHOD = "shared-draw"
DOMAINS = ("art", "photo", "sketch")
CELLS = tuple(Cell("PACS", "ERM", (name,), 0) for name in DOMAINS)


def sweep_of(accuracies: Mapping[int, Sequence[Sequence[float]]]) -> list[RunRecords]:
    """Of each draw, the validation accuracies of its run on each test domain."""
    return [
        run(of_run, test_domains=(name,), draws=(draw,))
        for draw, of_draw in accuracies.items()
        for name, of_run in zip(DOMAINS, of_draw, strict=True)
    ]


def pick(runs: Sequence[RunRecords], cells: Sequence[Cell] = CELLS) -> dict[str, tuple[int, int]]:
    """Test domain -> (draw, step)."""
    return {one.cell.test_domains[0]: (one.draw, one.step) for one in select(runs, METHOD, cells=cells)}


def test_the_draw_with_the_highest_mean_is_selected_in_every_cell() -> None:
    runs = sweep_of({0: [[1.0], [0.0], [0.0]], 1: [[0.75], [0.75], [0.75]], 2: [[0.0], [1.0], [1.0]]})
    assert pick(runs) == dict.fromkeys(DOMAINS, (1, 0))
    assert [one.draw for one in select(runs, cells=CELLS)] == [0, 2, 2]


def test_a_planned_test_domain_without_any_run_leaves_nothing_to_share() -> None:
    runs = [one for one in sweep_of({0: [[0.5]] * 3}) if one.cell.test_domains != ("sketch",)]
    assert pick(runs) == {}
    assert pick(runs, cells=()) == {"art": (0, 0), "photo": (0, 0)}


def test_arms_trial_seeds_and_datasets_choose_for_themselves() -> None:
    runs = sweep_of({0: [[1.0]] * 3, 1: [[0.5]] * 3})
    elsewhere = [
        changed_run(one, cell=replace(one.cell, **{place: value}), draws=(1 - one.draws[0],))
        for place, value in (("arm", "GGA"), ("trial_seed", 1), ("dataset", "OfficeHome"))
        for one in runs
    ]
    draws = {one.cell: one.draw for one in select([*runs, *elsewhere], METHOD)}
    assert {cell for cell, draw in draws.items() if draw == 0} == set(CELLS)
    assert len(draws) == 12


def test_the_order_of_the_runs_decides_nothing_where_rounding_would() -> None:
    # 0.7 + 0.2 + 0.1 is less than 0.1 + 0.2 + 0.7, so a sum in the order of the runs would make or break the tie.
    runs = [
        run([accuracy], test_domains=(name,), draws=(draw,))
        for draw, accuracies in enumerate([(0.7, 0.2, 0.1, 0.0), (0.1, 0.2, 0.7, 0.0)])
        for name, accuracy in zip((*DOMAINS, "clipart"), accuracies, strict=True)
    ]
    orders = [select(some, METHOD) for some in (runs, runs[::-1])]
    assert [{(one.draw, one.tied_draws) for one in chosen} for chosen in orders] == [{(1, 1)}, {(1, 1)}]


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_all_test_domains_of_an_arm_and_trial_seed_have_one_draw_or_none(seed: int) -> None:
    sweep = random_sweep(seed)
    groups: dict[tuple[str, int], list[Selected]] = {}
    for one in select(sweep.records, METHOD, cells=sweep.cells):
        groups.setdefault((one.cell.arm, one.cell.trial_seed), []).append(one)
    for chosen in groups.values():
        assert [one.cell.test_domains for one in chosen] == list(sweep.columns)
        assert len({(one.draw, one.tied_draws) for one in chosen}) == 1


def test_means_that_only_rounding_tells_apart_are_tied() -> None:
    runs = sweep_of({0: [[0.2], [0.2], [0.2]], 1: [[0.1], [0.2], [0.3]]})
    assert math.fsum([0.2, 0.2, 0.2]) != math.fsum([0.1, 0.2, 0.3])
    assert [(one.draw, one.tied_draws) for one in select(runs, METHOD, cells=CELLS)] == [(1, 1)] * 3
