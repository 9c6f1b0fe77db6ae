"""DomainBed's three methods, against the naive ones and case by case."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from domainbed_tree import Line, line, random_sweep, spread, write_tree
from naive_domainbed import choose as choose_naively

from gga_sweep.domainbed.model_selection import METHODS, DomainBedCell, cells_of, choose
from gga_sweep.domainbed.results import Results, read_results

VALIDATION, LEAVE_ONE_OUT, ORACLE = METHODS
NAN = math.nan
NOWHERE = ((0.0, 0.0),)


def chosen(results: Results, method: str) -> dict[tuple[str, str, int, int], tuple[int, int, float, float]]:
    return {
        (cell.dataset, cell.algorithm, cell.test_domain, cell.trial_seed): (
            choice.draw,
            choice.best.step,
            choice.best.validation,
            choice.best.test,
        )
        for cell, choice in choose(cells_of(results), METHODS[method]).items()
    }


def of_lines(tree: Path, lines: list[Line]) -> Results:
    return read_results(write_tree(tree, {"run": lines}))


def by_validation(*values: float, **key: int) -> list[Line]:
    """A run on three domains with these validation accuracies at steps 0, 100, ...; the test accuracy says which."""
    return [
        line(100 * i, accuracies=((i / 100, 0.0), (0.0, value), (0.0, value)), **key)  # type: ignore[arg-type]
        for i, value in enumerate(values)
    ]


def pair(step: int, other: int, accuracy: float, test_domain: int = 0) -> Line:
    """A run on three domains that leaves out `other` too, and reaches `accuracy` on it."""
    accuracies = [(accuracy if i == other else 0.0, 0.0) for i in range(3)]
    return line(step, accuracies=accuracies, test_envs=(test_domain, other))


def alone(step: int, test: float = 0.5, **key: int) -> Line:
    return line(step, accuracies=((test, 0.0), (0.0, 0.0), (0.0, 0.0)), **key)  # type: ignore[arg-type]


def compare_on_random_sweeps(seeds: range, folder: Path) -> None:
    cells = Counter[str]()
    for seed in seeds:
        files = [lines for lines in random_sweep(seed) if lines]
        if not files:
            continue
        results = read_results(write_tree(folder / str(seed), spread(files, seed)))
        for method in METHODS:
            expected = choose_naively([one for lines in files for one in lines], method)
            found = chosen(results, method)
            assert [*map(repr, found.items())] == [*map(repr, expected.items())]  # in order; NaN is NaN
            cells[method] += len(found)
    assert all(cells[method] > len(seeds) for method in METHODS)


@pytest.mark.parametrize("first", [0, 100])
def test_all_methods_choose_as_the_naive_ones_on_random_sweeps(first: int, tmp_path: Path) -> None:
    compare_on_random_sweeps(range(first, first + 100), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_methods_choose_as_the_naive_ones_on_thousands_of_random_sweeps(tmp_path: Path) -> None:
    compare_on_random_sweeps(range(10_000, 13_000), tmp_path)


def test_sums_over_many_domains_are_numpys(tmp_path: Path) -> None:
    import numpy as np

    chance = random.Random(0)
    accuracies = [[(chance.random(), chance.random()) for _ in range(21)] for _ in range(40)]
    results = of_lines(tmp_path, [line(i, accuracies=one, test_envs=(20,)) for i, one in enumerate(accuracies)])
    means = [float(np.mean([out for _, out in one[:20]])) for one in accuracies]
    assert chosen(results, VALIDATION)["PACS", "ERM", 20, 0][2] == max(means)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ((0.5, 0.75, 0.75), 100),
        ((NAN, 0.5, 0.75), 0),
        ((0.5, NAN, 0.75), 200),
        ((0.75, NAN, 0.5), 0),
    ],
    ids=["a tie goes to the first", "NaN at first wins", "NaN later never wins", "nor hides what was before"],
)
def test_within_a_run_by_training_domain_validation(values: tuple[float, ...], step: int, tmp_path: Path) -> None:
    assert chosen(of_lines(tmp_path, by_validation(*values)), VALIDATION)["PACS", "ERM", 0, 0][1] == step


def test_a_tie_of_steps_goes_to_the_first_record_of_the_file_not_to_the_lowest_step(tmp_path: Path) -> None:
    results = of_lines(tmp_path, by_validation(0.5, 0.75, 0.75)[::-1])
    assert chosen(results, VALIDATION)["PACS", "ERM", 0, 0][1] == 200


@pytest.mark.parametrize("method", [VALIDATION, ORACLE])
def test_a_tie_of_draws_goes_to_the_highest(method: str, tmp_path: Path) -> None:
    lines = [line(test_envs=(1,), hparams_seed=draw) for draw in (2, 10, 9)]
    assert chosen(of_lines(tmp_path, lines), method)["PACS", "ERM", 1, 0][0] == 10


def test_a_draw_whose_best_is_nan_ranks_below_one_at_zero(tmp_path: Path) -> None:
    lines = [*by_validation(0.0, hparams_seed=0), *by_validation(NAN, 1.0, hparams_seed=1)]
    assert chosen(of_lines(tmp_path, lines), VALIDATION)["PACS", "ERM", 0, 0][0] == 0


def test_where_every_draw_is_nan_the_highest_is_taken(tmp_path: Path) -> None:
    lines = [one for draw in (0, 2, 1) for one in by_validation(NAN, hparams_seed=draw)]
    draw, _, validation, test = chosen(of_lines(tmp_path, lines), VALIDATION)["PACS", "ERM", 0, 0]
    assert (draw, test) == (2, 0.0)
    assert math.isnan(validation)


def test_the_oracle_takes_the_last_step_however_low_and_of_two_records_the_later(tmp_path: Path) -> None:
    accuracies = [((0.1, 0.9), *NOWHERE), ((0.2, 0.3), *NOWHERE), ((0.3, 0.2), *NOWHERE)]
    lines = [line(step, accuracies=a) for step, a in zip((0, 100, 100), accuracies, strict=True)]
    assert chosen(of_lines(tmp_path, [*lines, line(50)][:3]), ORACLE)["PACS", "ERM", 0, 0] == (0, 100, 0.2, 0.3)


def test_leaving_one_out_averages_what_the_pairs_reach_on_their_other_domain(tmp_path: Path) -> None:
    results = of_lines(tmp_path, [alone(0, 0.125), pair(0, 1, 0.5), pair(0, 2, 0.75)])
    assert chosen(results, LEAVE_ONE_OUT) == {("PACS", "ERM", 0, 0): (0, 0, 0.625, 0.125)}


def test_leaving_one_out_a_tie_goes_to_the_lowest_step_in_any_order(tmp_path: Path) -> None:
    lines = [one for step in (200, 100, 300) for one in (alone(step), pair(step, 1, 0.5), pair(step, 2, 0.5))]
    assert chosen(of_lines(tmp_path, lines), LEAVE_ONE_OUT)["PACS", "ERM", 0, 0][1] == 100


@pytest.mark.parametrize(
    "lines",
    [
        [alone(0), pair(0, 1, 1.0)],
        [pair(0, 1, 1.0), pair(0, 2, 1.0)],
        [alone(0), pair(0, 1, 1.0), pair(100, 2, 1.0)],
        [alone(0), alone(0), pair(0, 1, 1.0), pair(0, 2, 1.0)],
    ],
    ids=["a pair lacks", "no run with the test domain alone", "pairs at other steps", "the single run stands twice"],
)
def test_leaving_one_out_gives_nothing(lines: list[Line], tmp_path: Path) -> None:
    assert chosen(of_lines(tmp_path, lines), LEAVE_ONE_OUT) == {}


def test_leaving_one_out_takes_the_last_record_of_a_pair(tmp_path: Path) -> None:
    lines = [alone(0), pair(0, 1, 0.0), pair(0, 2, 0.5), pair(0, 1, 1.0)]
    assert chosen(of_lines(tmp_path, lines), LEAVE_ONE_OUT)["PACS", "ERM", 0, 0][2] == 0.75


def test_a_pair_run_alone_decides_nothing_by_validation_or_oracle(tmp_path: Path) -> None:
    results = of_lines(tmp_path, [pair(0, 1, 1.0)])
    assert {DomainBedCell("PACS", "ERM", 0, 0), DomainBedCell("PACS", "ERM", 1, 0)} == set(cells_of(results))
    assert chosen(results, VALIDATION) == chosen(results, ORACLE) == {}
