"""Statistics over trial seeds, against scipy, numerical integration, Holm's definition and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from gga_sweep.selection.seed_statistics import detectable_in_errors, estimate, holm, score_estimate

VALUES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 1000), min_size=2, max_size=8).filter(
    lambda values: len(set(values)) > 1
)


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_mean_interval_and_p_are_those_of_a_one_sample_t_test(values: list[float]) -> None:
    found = estimate(values)
    test = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert found.standard_error == pytest.approx(stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(test.pvalue)
    assert (found.n, found.expected) == (len(values), len(values))


def test_an_absent_trial_seed_is_left_out_and_counted() -> None:
    found, without = estimate([0.1, math.nan, 0.4]), estimate([0.1, 0.4])
    assert (found.mean, found.low, found.high, found.p) == (without.mean, without.low, without.high, without.p)
    assert (found.n, found.expected) == (2, 3)


@pytest.mark.parametrize("values", [[], [math.nan], [math.nan, math.nan]])
def test_without_a_value_nothing_is_said(values: list[float]) -> None:
    found = estimate(values)
    assert all(map(math.isnan, (found.mean, found.standard_error, found.low, found.high, found.p, found.detectable)))
    assert found.n == 0


def test_one_trial_seed_has_a_mean_but_no_interval() -> None:
    found = estimate([0.3])
    assert found.mean == 0.3
    assert all(map(math.isnan, (found.standard_error, found.low, found.high, found.p, found.detectable)))


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [0.85 - 0.84, 0.35 - 0.34, 0.01]])
def test_trial_seeds_that_do_not_differ_give_no_interval(values: list[float]) -> None:
    found = estimate(values)
    assert found.standard_error == pytest.approx(0, abs=1e-12)
    assert all(map(math.isnan, (found.low, found.high, found.p, found.detectable)))


def _power(mean: float, freedom: int) -> float:
    """Of a two-sided test at 5 %, to find `mean` (in standard errors) with its sign: integrated over the variance."""
    critical = stats.t.ppf(0.975, freedom)
    found, _ = integrate.quad(
        lambda u: stats.norm.sf(critical * math.sqrt(stats.chi2.ppf(u, freedom) / freedom) - mean), 0, 1, limit=200
    )
    return found


@pytest.mark.parametrize("freedom", [1, 2, 4, 19])
def test_the_detectable_mean_is_found_with_eighty_percent_power(freedom: int) -> None:
    assert _power(detectable_in_errors(freedom), freedom) == pytest.approx(0.8, abs=1e-3)


def test_what_could_be_detected_grows_with_the_spread() -> None:
    narrow, wide = estimate([0.0, 0.1, 0.2]), estimate([0.0, 0.2, 0.4])
    assert narrow.detectable == pytest.approx(detectable_in_errors(2) * narrow.standard_error)
    assert wide.detectable == pytest.approx(2 * narrow.detectable)


@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), max_size=6))
@settings(max_examples=200, deadline=None)
def test_holm_follows_its_definition(p_values: list[float]) -> None:
    """Adjusted p of a hypothesis: over all with no larger p, the largest of min(1, (m - number of smaller ones) p)."""
    finite = sorted(p for p in p_values if not math.isnan(p))
    expected = [
        math.nan if math.isnan(p) else max(min(1.0, (len(finite) - finite.index(q)) * q) for q in finite if q <= p)
        for p in p_values
    ]
    assert holm(p_values) == pytest.approx(tuple(expected), nan_ok=True)


def test_the_interval_covers_the_truth_in_95_percent_of_simulated_sweeps() -> None:
    rng = np.random.default_rng(0)
    truth, sweeps, seeds, pairs = 0.01, 2000, 4, 12
    shared = rng.normal(0, 0.02, (sweeps, seeds, 1))
    differences = truth + shared + rng.normal(0, 0.02, (sweeps, seeds, pairs))
    found = [estimate(of_sweep) for of_sweep in differences.mean(axis=2).tolist()]
    assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.97


def test_the_interval_of_an_accuracy_ends_at_0_and_1_and_too_few_trial_seeds_have_none() -> None:
    for values in ((0.9, 0.95, 1.0), (0.02, 0.0, 0.1), (0.5, 0.6, 0.7)):
        plain, found = estimate(values), score_estimate(values)
        assert (found.low, found.high) == (max(plain.low, 0), min(plain.high, 1))
        assert (found.mean, found.values) == (plain.mean, plain.values)
    assert estimate((0.1, 0.9)).low < 0
    for few in ((0.1, 0.9), (0.5,), (), (0.1, math.nan, 0.9), (0.5, 0.5, 0.5)):
        assert math.isnan(score_estimate(few).low)
        assert math.isnan(score_estimate(few).high)


def test_the_population_error_has_no_degree_of_freedom_less() -> None:
    values = (0.1, 0.4, 0.2, math.nan)
    assert estimate(values).population_error == pytest.approx(np.std(values[:3]) / np.sqrt(3))
    assert math.isnan(estimate((0.1,)).population_error)
