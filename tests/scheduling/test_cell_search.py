"""Searching a cell: the same results give the same suggestion, and the next draw is better than chance."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping

import pytest

from gga_sweep.distributions import Distribution
from gga_sweep.records import Scalar
from gga_sweep.scheduling import Result, TPESearch, feed
from gga_sweep.spec.draws import contains, draw_hyperparameters

EVERY_KIND: Mapping[str, Distribution] = {
    "lr": Distribution(loguniform=(1e-5, 1e-2)),
    "dropout": Distribution(uniform=(0.0, 0.5)),
    "annealing.num_steps": Distribution(integers=(5, 9)),
    "batch_size": Distribution(logintegers=(8, 2**5.5)),
    "mixed": Distribution(choice=(1, True, "one", 0.5)),
    "fixed": Distribution(uniform=(0.3, 0.3)),
}
RATE = {"lr": Distribution(loguniform=(1e-5, 1e-1))}


def drawn(space: Mapping[str, Distribution], draw: int) -> dict[str, Scalar]:
    return draw_hyperparameters(space, "by-name", "ERM", "Small", 0, draw)


def told(seed: int, results: list[Result], space: Mapping[str, Distribution] = EVERY_KIND) -> TPESearch:
    search = TPESearch(space, seed)
    feed(search, results)
    return search


def results_of(number: int) -> list[Result]:
    scores = random.Random(7)
    return [
        Result(drawn(EVERY_KIND, draw), scores.random(), 100 if draw % 3 == 0 else None)
        for draw in range(1, number + 1)
    ]


@pytest.mark.parametrize("number", [0, 1, 12])
def test_what_is_suggested_lies_in_the_space_and_has_its_types(number: int) -> None:
    for seed in range(20):
        suggested = told(seed, results_of(number)).suggest()
        assert list(suggested) == list(EVERY_KIND)
        assert all(contains(searched, suggested[name]) for name, searched in EVERY_KIND.items())
        assert type(suggested["batch_size"]) is int
        assert type(suggested["lr"]) is float


def test_the_same_results_give_the_same_suggestion_and_others_another() -> None:
    results = results_of(12)
    suggested = told(3, results).suggest()
    assert told(3, results).suggest() == suggested
    assert told(4, results).suggest() != suggested
    assert told(3, results[:6]).suggest() != suggested


def test_a_suggestion_that_was_not_trained_leaves_no_trace() -> None:
    """The one after it is what the generator gives next, whatever became of it."""
    results = results_of(12)
    once, twice = told(3, results), told(3, results)
    once.suggest()
    twice.suggest()
    assert once.suggest() == twice.suggest()
    assert {trial.state.name for trial in once._study.study.trials} == {"COMPLETE", "PRUNED", "FAIL"}


def test_choices_that_python_takes_for_equal_stay_apart() -> None:
    space = {"mixed": Distribution(choice=(1, True))}
    results = [Result({"mixed": True}, 0.9), Result({"mixed": 1}, 0.1)] * 20
    suggested = [told(seed, results, space).suggest()["mixed"] for seed in range(30)]
    assert sum(value is True for value in suggested) > 20


def suggested_rates(results: list[Result]) -> float:
    return statistics.median(float(told(seed, results, RATE).suggest()["lr"]) for seed in range(30))


def test_suggestions_lie_where_scores_are_high() -> None:
    rates = [float(drawn(RATE, draw)["lr"]) for draw in range(1, 21)]
    high = [Result({"lr": rate}, rate) for rate in rates]
    low = [Result({"lr": rate}, -rate) for rate in rates]
    assert suggested_rates(high) > 1e-2
    assert suggested_rates(low) < 1e-4


def test_a_run_ended_early_counts_as_worse_than_one_that_was_not() -> None:
    rates = [float(drawn(RATE, draw)["lr"]) for draw in range(1, 21)]
    results = [Result({"lr": rate}, 0.9 if rate > 1e-3 else 0.5, 100 if rate > 1e-3 else None) for rate in rates]
    assert suggested_rates(results) < 1e-3


def test_a_draw_outside_the_space_tells_nothing() -> None:
    """As draw 0 under DomainBed's protocol, whose weight decay of 0 has no logarithm."""
    inside = [Result({"lr": 1e-3}, 0.5), Result({"lr": 1e-2}, 0.6)]
    assert told(1, [Result({"lr": 0.0}, 0.9), *inside], RATE).suggest() == told(1, inside, RATE).suggest()
