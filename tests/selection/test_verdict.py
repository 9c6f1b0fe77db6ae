"""Verdicts: never more than the adjusted p supports, against Holm's definition and an integrated power."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from gga_sweep.selection.contrasts import Contrast
from gga_sweep.selection.seed_statistics import estimate, holm
from gga_sweep.selection.verdict import Finding, verdicts

VALUES = st.integers(-100, 100).map(lambda n: n / 100)


def contrasts_of(*differences: list[float]) -> tuple[Contrast, ...]:
    """One arm for each list of differences, a value a trial seed."""
    estimates = [estimate(values) for values in differences]
    adjusted = holm([one.p for one in estimates])
    return tuple(
        Contrast(f"arm {i}", "ERM", "selected", one, p, pairs=one.n, missing=(), incomplete=False)
        for i, (one, p) in enumerate(zip(estimates, adjusted, strict=True))
    )


def findings(*differences: list[float]) -> list[Finding]:
    return [one.finding for one in verdicts(contrasts_of(*differences))]


@pytest.mark.parametrize(
    ("differences", "finding"),
    [
        ([0.02, 0.021, 0.022, 0.019], Finding.BETTER),
        ([-0.02, -0.021, -0.022, -0.019], Finding.WORSE),
        ([0.02, -0.03, 0.05, -0.01], Finding.NO_DIFFERENCE_SHOWN),
        ([0.02, 0.05], Finding.TOO_FEW_SEEDS),
        ([0.02], Finding.TOO_FEW_SEEDS),
        ([0.02, math.nan, math.nan], Finding.TOO_FEW_SEEDS),
        ([0.01, 0.01], Finding.TOO_FEW_SEEDS),
        ([0.01, 0.01, 0.01], Finding.NO_SPREAD),
        ([math.nan, math.nan], Finding.NO_PAIRS),
        ([], Finding.NO_PAIRS),
    ],
)
def test_a_single_arm(differences: list[float], finding: Finding) -> None:
    assert findings(differences) == [finding]


def test_two_trial_seeds_suffice_where_they_show_a_difference() -> None:
    assert findings([0.02, 0.0201]) == [Finding.BETTER]


def test_a_difference_that_is_shown_alone_may_not_be_shown_among_many_arms() -> None:
    clear, unclear = [0.010, 0.014, 0.004, 0.012], [0.02, -0.03, 0.05, -0.01]
    assert findings(clear) == [Finding.BETTER]
    assert findings(clear, *[unclear] * 9)[0] == Finding.NO_DIFFERENCE_SHOWN


@given(st.lists(st.lists(VALUES, min_size=3, max_size=6), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_a_difference_is_shown_exactly_where_holm_rejects(differences: list[list[float]]) -> None:
    for verdict in verdicts(contrasts_of(*differences)):
        difference = verdict.contrast.difference
        shown = verdict.finding in (Finding.BETTER, Finding.WORSE)
        assert shown == (verdict.contrast.holm_p <= 0.05)
        if shown:
            assert difference.low > 0 or difference.high < 0
            assert (verdict.finding is Finding.BETTER) == (difference.mean > 0)


@pytest.mark.parametrize("arms", [1, 4])
def test_the_detectable_difference_has_eighty_percent_power_at_the_level_of_one_of_the_arms(arms: int) -> None:
    verdict = verdicts(contrasts_of(*[[0.0, 0.1, 0.2, 0.4]] * arms))[0]
    freedom, mean = 3, verdict.detectable / verdict.contrast.difference.standard_error
    critical = stats.t.ppf(1 - 0.025 / arms, freedom)
    power, _ = integrate.quad(
        lambda u: stats.norm.sf(critical * math.sqrt(stats.chi2.ppf(u, freedom) / freedom) - mean), 0, 1, limit=200
    )
    assert power == pytest.approx(0.8, abs=1e-3)
    assert verdict.compared == arms
