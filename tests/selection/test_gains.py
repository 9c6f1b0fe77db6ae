"""What annealing adds to each algorithm, and on average over them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from selection_records import run, view

from gga_sweep.selection import SweepView, build_table, compare, mean_gain

ALGORITHMS = ("ERM", "CORAL", "MLDG")
SEEDS = (0, 1, 2, 3)
DOMAINS = (("art",), ("sketch",))
ARMS = tuple(arm for algorithm in ALGORITHMS for arm in (algorithm, f"{algorithm} + GGA"))
ACCURACY = np.random.default_rng(0).uniform(0.2, 0.9, size=(len(ARMS), len(DOMAINS), len(SEEDS)))


def swept(
    arms: Sequence[str] = ARMS, algorithms: Mapping[str, str] | None = None, without: tuple[str, int] | None = None
) -> SweepView:
    """Each annealed arm beside its algorithm, each algorithm beside ERM. `without`: an arm that lacks a trial seed."""
    runs = [
        run([0.5], [ACCURACY[ARMS.index(arm), i, j]], arm=arm, test_domains=domains, trial_seed=seed)
        for arm in arms
        for i, domains in enumerate(DOMAINS)
        for j, seed in enumerate(SEEDS)
        if (arm, seed) != without
    ]
    found = view(runs, arms=tuple(arms), test_domains=DOMAINS, trial_seeds=SEEDS, draws=dict.fromkeys(arms, (0,)))
    annealed = {arm: arm.removesuffix(" + GGA") for arm in arms if arm.endswith(" + GGA")}
    plain = {arm: "ERM" for arm in arms if arm not in annealed and arm != "ERM"}
    return replace(found, baselines={**annealed, **plain}, algorithms=annealed if algorithms is None else algorithms)


def differences(algorithm: str) -> np.ndarray:
    """By trial seed, averaged over test domains."""
    i = ARMS.index(algorithm)
    averages: np.ndarray = (ACCURACY[i + 1] - ACCURACY[i]).mean(axis=0)
    return averages


def test_an_algorithm_stands_with_both_accuracies_and_their_difference_in_pairs() -> None:
    sweep = swept()
    gains = compare(sweep, build_table(sweep)).algorithms
    assert [gain.algorithm for gain in gains] == [*ALGORITHMS]
    for gain in gains:
        i = ARMS.index(gain.algorithm)
        assert (gain.contrast.arm, gain.contrast.baseline) == (ARMS[i + 1], ARMS[i])
        assert gain.alone.mean == pytest.approx(ACCURACY[i].mean())
        assert gain.annealed.mean == pytest.approx(ACCURACY[i + 1].mean())
        assert gain.contrast.difference.values == pytest.approx(tuple(differences(gain.algorithm)))
        interval = stats.ttest_1samp(differences(gain.algorithm), 0).confidence_interval()
        assert (gain.contrast.difference.low, gain.contrast.difference.high) == pytest.approx(tuple(interval))


def test_p_is_adjusted_over_the_algorithms_and_not_over_those_beside_erm() -> None:
    sweep = swept()
    comparison = compare(sweep, build_table(sweep))
    p = [stats.ttest_1samp(differences(algorithm), 0).pvalue for algorithm in ALGORITHMS]
    order = np.argsort(p)
    ordered = np.maximum.accumulate([min(1.0, (len(p) - rank) * p[i]) for rank, i in enumerate(order)])
    expected = dict(zip(order, ordered, strict=True))
    assert [gain.contrast.holm_p for gain in comparison.algorithms] == pytest.approx(
        [expected[i] for i in range(len(p))]
    )
    assert len(comparison.selected) == 5


def test_the_mean_is_over_algorithms_within_a_trial_seed_and_then_over_trial_seeds() -> None:
    sweep = swept()
    mean = mean_gain(compare(sweep, build_table(sweep)).algorithms)
    assert mean is not None
    by_seed = np.mean([differences(algorithm) for algorithm in ALGORITHMS], axis=0)
    assert mean.values == pytest.approx(tuple(by_seed))
    assert mean.p == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue)


def test_a_trial_seed_that_one_algorithm_lacks_is_left_out_of_the_mean() -> None:
    sweep = swept(without=("CORAL", 2))
    gains = compare(sweep, build_table(sweep)).algorithms
    mean = mean_gain(gains)
    assert mean is not None
    assert [math.isnan(value) for value in mean.values] == [seed == 2 for seed in SEEDS]
    assert [gain.contrast.difference.n for gain in gains] == [4, 3, 4]
    assert [gain.contrast.incomplete for gain in gains] == [False, True, False]


@pytest.mark.parametrize(
    ("arms", "algorithms"),
    [
        (ARMS[:2], None),
        (("ERM", "CORAL", "CORAL + GGA"), None),
        (ARMS, {}),
        (ARMS, {"ERM + GGA": "ERM"}),
        (ARMS, {"ERM + GGA": "ERM", "CORAL + GGA": "ERM"}),
    ],
)
def test_a_single_algorithm_beside_itself_makes_no_table_of_gains(
    arms: Sequence[str], algorithms: Mapping[str, str] | None
) -> None:
    sweep = swept(arms, algorithms)
    assert compare(sweep, build_table(sweep)).algorithms == ()
    assert mean_gain(()) is None


def test_an_algorithm_annealed_in_two_ways_has_two_lines_and_then_there_is_no_mean() -> None:
    sweep = swept(algorithms={"ERM + GGA": "ERM", "CORAL + GGA": "ERM", "MLDG + GGA": "MLDG"})
    gains = compare(sweep, build_table(sweep)).algorithms
    assert [(gain.algorithm, gain.contrast.arm) for gain in gains] == [
        ("ERM", "ERM + GGA"),
        ("ERM", "CORAL + GGA"),
        ("MLDG", "MLDG + GGA"),
    ]
    assert mean_gain(gains) is None
