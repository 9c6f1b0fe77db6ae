"""The sweep's search space for Tune: a searcher draws nothing outside the file's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ray.tune.search.sample import Categorical, Domain
from small_sweep import small_sweep

from gga_sweep.distributions import Distribution
from gga_sweep.errors import InputError
from gga_sweep.ray_backend.search_space import param_space, to_tune
from gga_sweep.records import Scalar
from gga_sweep.spec import Contents, load, searched_run
from gga_sweep.spec.draws import contains

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SPACE = {
    "lr": {"loguniform": [1e-4, 1e-2]},
    "batch_size": {"logintegers": [2, 8]},
    "dropout": {"choice": [0.0, 0.2]},
    "annealing.radius": {"loguniform": [1e-6, 1e-4]},
}


def sample(searched: Distribution, count: int, seed: int = 0) -> list[Scalar]:
    drawn: list[Scalar] = to_tune(searched).sample(size=count, random_state=seed)
    return drawn if count > 1 else [drawn]  # type: ignore[list-item]  # Tune gives one bare


def _ordered(ends: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))


distributions = st.one_of(
    _ordered(st.floats(-1e6, 1e6)).map(lambda ends: Distribution(uniform=ends)),
    _ordered(st.floats(1e-12, 1e6)).map(lambda ends: Distribution(loguniform=ends)),
    _ordered(st.integers(-1000, 1000)).map(lambda ends: Distribution(integers=ends)),
    _ordered(st.floats(1, 1e6)).map(lambda ends: Distribution(logintegers=ends)),
    st.lists(
        st.one_of(st.booleans(), st.integers(), st.floats(-9, 9), st.text(max_size=3)), min_size=1, max_size=5
    ).map(lambda values: Distribution(choice=tuple(values))),
)


@given(distributions, st.integers(0, 2**32 - 1))
@example(Distribution(loguniform=(0.003, 0.003)), 0)
@example(Distribution(uniform=(0.1, 0.1)), 0)
@example(Distribution(integers=(7, 7)), 0)
@example(Distribution(logintegers=(8, 8)), 0)
@settings(max_examples=60, deadline=None)
def test_every_sample_lies_in_the_distribution(searched: Distribution, seed: int) -> None:
    for value in sample(searched, 5, seed):
        assert contains(searched, value), value


@pytest.mark.parametrize(
    ("searched", "whole"),
    [
        (Distribution(integers=(3, 6)), {3, 4, 5, 6}),
        (Distribution(logintegers=(2, 6)), {2, 3, 4, 5}),
        (Distribution(logintegers=(2, 5.5)), {2, 3, 4, 5}),
        (Distribution(logintegers=(1, 1)), {1}),
        (Distribution(choice=(True, 2, "three", 4.5)), {True, 2, "three", 4.5}),
    ],
)
def test_both_ends_and_all_between_are_drawn(searched: Distribution, whole: set[Scalar]) -> None:
    drawn = sample(searched, 500)
    assert set(drawn) == whole
    assert {type(value) for value in map(_plain, drawn)} == {type(value) for value in whole}


def _plain(value: Any) -> Scalar:
    plain: Scalar = value.item() if hasattr(value, "item") else value
    return plain


def test_a_logarithmic_range_is_drawn_by_its_logarithm_and_a_plain_one_is_not() -> None:
    middles = {
        kind: sorted(sample(Distribution(**{kind: (1e-4, 1.0)}), 2001))[1000] for kind in ("loguniform", "uniform")
    }
    assert math.log10(float(middles["loguniform"])) == pytest.approx(-2, abs=0.15)
    assert float(middles["uniform"]) == pytest.approx(0.5, abs=0.05)
    wide = sorted(sample(Distribution(logintegers=(1, 10_000)), 2001))[1000]
    assert math.log10(float(wide)) == pytest.approx(2, abs=0.15)


def space_of(**fields: Any) -> dict[str, Any]:
    return param_space(load(small_sweep(**fields)))


def test_the_space_holds_arm_test_domain_trial_seed_and_every_searched_name() -> None:
    arms = [{"algorithm": "ERM"}, {"algorithm": "ERM", "annealing": {"start_step": 2, "num_steps": 2}}]
    space = space_of(search_space=SPACE, arms=arms, test_domains=["north", "south"], trial_seeds=[3, 4])
    assert sorted(space) == sorted(["arm", "test_domain", "trial_seed", *SPACE])
    assert space["arm"].categories == ["ERM", "ERM + GGA, start step 2, num steps 2"]
    assert space["test_domain"].categories == ["north", "south"]
    assert space["trial_seed"].categories == [3, 4]


def test_test_domains_held_out_together_are_one_choice() -> None:
    space = space_of(arms=[{"algorithm": "ERM"}], test_domains=["north", ["east", "south"]])
    assert space["test_domain"].categories == ["north", "east+south"]


def test_a_name_that_every_arm_fixes_or_lacks_is_not_searched() -> None:
    assert "annealing.radius" not in space_of(search_space=SPACE)  # the annealed arm's block has it
    assert list(space_of()) == ["arm", "test_domain", "trial_seed"]


@pytest.mark.parametrize("search", ["random", "grid"])
def test_it_has_no_grid_search(search: str) -> None:
    """Most searchers refuse one; of a grid's points a searcher chooses."""
    space = space_of(search=search, search_space={"dropout": {"choice": [0.0, 0.2]}})
    assert all(isinstance(part, Domain) for part in space.values())  # `grid_search` makes a dictionary
    assert isinstance(space["dropout"], Categorical)


def test_every_sample_is_a_run_of_the_sweep() -> None:
    sweep = load(small_sweep(search_space=SPACE, test_domains=["north", "south"], trial_seeds=[0, 1]))
    space = param_space(sweep)
    cells, numbers = set(), np.random.default_rng(0)
    for _ in range(80):
        drawn = {name: _plain(part.sample(random_state=numbers)) for name, part in space.items()}
        run = searched_run(sweep, Contents(dataset="0" * 32), drawn)
        assert run.cell.arm == drawn["arm"]
        assert run.config.hyperparameters["lr"] == drawn["lr"]
        cells.add(run.cell)
    assert len(cells) == 8  # two arms, test domains and trial seeds: all of them are met


def test_chosen_hyperparameters_leave_nothing_to_search() -> None:
    cells = [{"arm": "ERM", "test_domains": ["north"], "values": {"lr": 1e-3}}]
    arms = [{"algorithm": "ERM"}]
    with pytest.raises(InputError, match="chosen: leaves nothing to search; run the sweep as it is"):
        space_of(arms=arms, test_domains=["north"], chosen={"search": "another sweep", "cells": cells})
