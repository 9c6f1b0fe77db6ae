"""Which factor matters: against analysis of variance by its definition, exhaustive permutations and simulated truth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from selection_records import run, view

from gga_sweep.records import Scalar
from gga_sweep.selection import AlignmentAndScore, FactorEffect, SweepView, alignment_over_arms, build_table
from gga_sweep.selection.factor_effects import factor_effects

RADII = (1e-5, 1e-4, 1e-3)
Settings = Mapping[str, Scalar]


def arm(radius: float = 1e-4, candidates: int = 8, **others: Scalar) -> dict[str, Scalar]:
    what = {"algorithm": "ERM", "annealing": "gga", "draws": 1}
    return {**what, "annealing.radius": radius, "annealing.num_candidates": candidates, **others}


def swept(settings: Sequence[Settings], accuracy: np.ndarray) -> SweepView:
    """An arm a row of `accuracy`, a trial seed a column; NaN where a run is missing."""
    names = tuple(f"arm {i}" for i in range(len(settings)))
    seeds = tuple(range(accuracy.shape[1]))
    runs = [
        run([0.5], [accuracy[i, seed]], arm=name, trial_seed=seed)
        for i, name in enumerate(names)
        for seed in seeds
        if math.isfinite(accuracy[i, seed])
    ]
    found = view(runs, arms=names, trial_seeds=seeds, draws=dict.fromkeys(names, (0,)))
    return replace(found, settings=dict(zip(names, settings, strict=True)), blocks=dict.fromkeys(names, "ERM + GGA"))


def effects(settings: Sequence[Settings], accuracy: np.ndarray) -> dict[str, FactorEffect]:
    sweep = swept(settings, accuracy)
    return {one.factor: one for one in factor_effects(sweep, build_table(sweep))}


def drawn(levels: int, seeds: int, rng: np.random.Generator, shifts: Sequence[float] | None = None) -> np.ndarray:
    shift = np.zeros(levels) if shifts is None else np.array(shifts)
    accuracy: np.ndarray = 0.5 + shift[:, None] + rng.normal(0, 0.03, seeds) + rng.normal(0, 0.01, (levels, seeds))
    return accuracy


def test_a_spread_is_the_variance_of_level_means_less_what_trial_seeds_explain() -> None:
    accuracy = drawn(3, 6, np.random.default_rng(0), (-0.02, 0, 0.02))
    found = effects([arm(radius) for radius in RADII], accuracy)["annealing.radius"]
    grand = accuracy.mean()
    of_levels, of_seeds = accuracy.mean(axis=1), accuracy.mean(axis=0)
    residual = sum(
        (accuracy[i, j] - of_levels[i] - of_seeds[j] + grand) ** 2 for i, j in itertools.product(range(3), range(6))
    )
    between = 6 * sum((mean - grand) ** 2 for mean in of_levels) / 2
    assert found.spread == pytest.approx(math.sqrt((between - residual / 10) / 6))
    assert found.means == pytest.approx(tuple(of_levels))
    assert (found.levels, found.n, found.expected) == (RADII, 6, 6)


def test_p_is_that_of_all_permutations_within_trial_seeds() -> None:
    accuracy = drawn(3, 4, np.random.default_rng(3), (0, 0, 0.012))
    orders = list(itertools.permutations(range(3)))
    observed = accuracy.mean(axis=1).var()
    as_far = [
        np.array([accuracy[[*order], seed] for seed, order in enumerate(shuffle)]).mean(axis=0).var()
        >= observed - 1e-15
        for shuffle in itertools.product(orders, repeat=4)
    ]
    found = effects([arm(radius) for radius in RADII], accuracy)["annealing.radius"]
    assert found.p == pytest.approx(np.mean(as_far), abs=0.02)


def test_an_interval_is_that_of_the_noncentral_f() -> None:
    accuracy = drawn(4, 10, np.random.default_rng(1), (-0.02, 0, 0, 0.02))
    found = effects([arm(candidates=n) for n in (2, 8, 32, 128)], accuracy)["annealing.num_candidates"]
    of_levels, of_seeds = accuracy.mean(axis=1, keepdims=True), accuracy.mean(axis=0)
    noise = ((accuracy - of_levels - of_seeds + accuracy.mean()) ** 2).sum() / 27
    f = 10 * of_levels.var(ddof=1) / noise
    for end, share in ((found.low, 0.975), (found.high, 0.025)):
        noncentrality = end**2 * 3 * 10 / noise
        assert stats.ncf.cdf(f, 3, 27, noncentrality) == pytest.approx(share, abs=1e-3)  # SciPy's inverse is as exact


def test_intervals_cover_the_true_spread_in_95_percent_of_simulated_sweeps() -> None:
    rng = np.random.default_rng(2)
    shifts = (-0.006, 0, 0.006)
    true = float(np.std(shifts, ddof=1))
    found = [effects([arm(radius) for radius in RADII], drawn(3, 8, rng, shifts)) for _ in range(150)]
    covered = [one["annealing.radius"].low <= true <= one["annealing.radius"].high for one in found]
    assert 0.89 <= np.mean(covered) <= 0.99


def test_levels_belong_together_wherever_their_arms_stand() -> None:
    centre = arm()
    settings = [centre, arm(candidates=2), arm(radius=1e-3), arm(candidates=32), arm(radius=1e-5)]
    found = effects(settings, drawn(5, 4, np.random.default_rng(0)))
    assert (found["annealing.radius"].block, found["annealing.radius"].levels) == ("ERM + GGA", RADII)
    assert found["annealing.radius"].arms == (("arm 4",), ("arm 0",), ("arm 2",))
    assert found["annealing.num_candidates"].levels == (2, 8, 32)


def test_the_other_factors_of_a_grid_are_averaged_over() -> None:
    settings = [arm(radius, candidates) for radius in RADII for candidates in (2, 8)]
    accuracy = drawn(6, 5, np.random.default_rng(0))
    found = effects(settings, accuracy)
    assert found["annealing.radius"].arms[0] == ("arm 0", "arm 1")
    assert found["annealing.num_candidates"].means == pytest.approx((accuracy[::2].mean(), accuracy[1::2].mean()))


@pytest.mark.parametrize("what", ["algorithm", "annealing", "draws"])
def test_what_an_arm_is_must_agree_and_is_no_factor(what: str) -> None:
    settings = [arm(), {**arm(radius=1e-3), what: "another"}, {**arm(), what: "another"}]
    found = effects(settings, drawn(3, 4, np.random.default_rng(0)))
    assert list(found) == ["annealing.radius"]
    assert found["annealing.radius"].arms == (("arm 2",), ("arm 1",))


def test_a_trial_seed_without_one_of_the_levels_is_left_out() -> None:
    accuracy = drawn(3, 5, np.random.default_rng(0))
    accuracy[1, 2] = math.nan
    found = effects([arm(radius) for radius in RADII], accuracy)["annealing.radius"]
    rest = effects([arm(radius) for radius in RADII], np.delete(accuracy, 2, axis=1))["annealing.radius"]
    assert (found.n, found.expected) == (4, 5)
    assert (found.spread, found.p, found.means) == (rest.spread, rest.p, rest.means)


def test_two_trial_seeds_are_too_few_for_a_spread() -> None:
    found = effects([arm(radius) for radius in RADII], drawn(3, 2, np.random.default_rng(0)))["annealing.radius"]
    assert all(map(math.isnan, (found.spread, found.low, found.high, found.p, found.holm_p)))


def test_the_largest_spread_stands_first_and_p_is_adjusted_over_the_factors() -> None:
    settings = [arm(), arm(radius=1e-3), arm(candidates=2)]
    accuracy = drawn(3, 8, np.random.default_rng(0), (0, 0, 0.05))
    sweep = swept(settings, accuracy)
    found = factor_effects(sweep, build_table(sweep))
    assert [one.factor for one in found] == ["annealing.num_candidates", "annealing.radius"]
    first, second = found
    assert first.holm_p == pytest.approx(2 * first.p)
    assert second.holm_p == pytest.approx(max(second.p, first.holm_p))


def test_levels_that_give_equal_accuracies_have_no_spread() -> None:
    accuracy = np.tile(np.linspace(0.4, 0.6, 5), (2, 1))
    found = effects([arm(), arm(radius=1e-3)], accuracy)["annealing.radius"]
    assert (found.spread, found.p) == (0.0, 1.0)


def gains(alignment: Sequence[float], accuracy: Sequence[float]) -> AlignmentAndScore:
    return AlignmentAndScore("arm", "ERM", tuple(range(len(alignment))), tuple(alignment), tuple(accuracy))


def test_alignment_and_accuracy_are_ranked_over_arms_within_each_trial_seed() -> None:
    rng = np.random.default_rng(4)
    alignment, accuracy = rng.normal(size=(2, 6, 5)).round(1)  # arms x trial seeds, with ties
    mean = alignment_over_arms([gains(*of_arm) for of_arm in zip(alignment, accuracy, strict=True)])
    assert mean is not None
    expected = [stats.spearmanr(alignment[:, seed], accuracy[:, seed]).statistic for seed in range(5)]
    assert mean.values == pytest.approx(expected)


def test_three_arms_are_too_few_for_a_rank_correlation() -> None:
    assert alignment_over_arms([gains((0.1, 0.2), (0.3, 0.4))] * 3) is None
    assert alignment_over_arms([]) is None
