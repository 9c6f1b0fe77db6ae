"""Rungs of a cell: held against the rule written out, and against what pooling cells would do."""

from __future__ import annotations

import random

import pytest

from gga_sweep.scheduling import RungTable, rung_steps


def goes_on(earlier: list[float], score: float, reduction: int) -> bool:
    """Among the best 1/reduction of those that reached the rung, itself included; the best always."""
    among = sorted([*earlier, score], reverse=True)
    return among.index(score) < max(1, len(among) // reduction)


@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_a_run_goes_on_if_it_is_among_the_best_of_those_that_reached_the_rung(reduction: int) -> None:
    numbers = random.Random(reduction)
    table, earlier = RungTable((100,), reduction), list[float]()
    for _ in range(60):
        score, cutoff = numbers.random(), table.cutoff(100)
        assert goes_on(earlier, score, reduction) == (cutoff is None or score >= cutoff)
        table.reached(100, score)
        earlier.append(score)


def test_the_first_to_reach_a_rung_goes_on_and_so_does_an_equal() -> None:
    table = RungTable((100, 300), 3)
    assert table.cutoffs() == {}
    table.reached(100, 0.7)
    assert table.cutoffs() == {100: 0.7}


def test_a_hard_cell_keeps_as_many_runs_as_an_easy_one() -> None:
    """Its best run scores less than the easy cell's worst; in one table it would lose them all."""
    kept = {"own": 0, "shared": 0}
    shared = RungTable((100,), 3)
    own = {"easy": RungTable((100,), 3), "hard": RungTable((100,), 3)}
    numbers = random.Random(0)
    for _ in range(30):
        for cell, base in (("easy", 0.9), ("hard", 0.4)):
            score = base + 0.05 * numbers.random()
            for name, table in (("own", own[cell]), ("shared", shared)):
                cutoff = table.cutoff(100)
                kept[name] += cell == "hard" and (cutoff is None or score >= cutoff)
                table.reached(100, score)
    assert kept["shared"] <= 1
    assert kept["own"] >= 8


@pytest.mark.parametrize(
    ("grace", "reduction", "expected"),
    [
        (200, 3, (200, 600)),
        (201, 3, (200, 650)),
        (202, 3, (250, 650)),
        (50, 2, (50, 100, 200, 400, 800)),
        (1, 10, (0, 50, 100)),
    ],
)
def test_rungs_lie_at_evaluations_once_so_many_steps_are_trained(
    grace: int, reduction: int, expected: tuple[int, ...]
) -> None:
    assert rung_steps(grace, reduction, [*range(0, 1000, 50), 999]) == expected


def test_the_last_evaluation_is_no_rung() -> None:
    assert rung_steps(960, 3, [*range(0, 1000, 50), 999]) == ()
    assert rung_steps(300, 2, [0, 299]) == ()
