"""Verdicts in words: each names the arm, its baseline, the difference, its interval and the trial seeds."""

from __future__ import annotations

import math

import pytest

from gga_sweep.report.verdict import verdicts_in_words
from gga_sweep.selection.contrasts import Contrast
from gga_sweep.selection.seed_statistics import estimate, holm
from gga_sweep.selection.verdict import verdicts


def words(*differences: list[float], baselines: tuple[str, ...] = ("ERM",)) -> tuple[str, ...]:
    estimates = [estimate(values) for values in differences]
    adjusted = holm([one.p for one in estimates])
    contrasts = [
        Contrast(f"arm {i}", baselines[i % len(baselines)], "selected", one, p, one.n, missing=(), incomplete=False)
        for i, (one, p) in enumerate(zip(estimates, adjusted, strict=True))
    ]
    return verdicts_in_words(verdicts(contrasts))


@pytest.mark.parametrize(
    ("differences", "sentence"),
    [
        ([0.02, 0.021, 0.022], "arm 0 is better than ERM: +2.10 [1.85, 2.35] points, 3 trial seeds, p <0.001."),
        ([-0.02, -0.021, -0.022], "arm 0 is worse than ERM: -2.10 [-2.35, -1.85] points, 3 trial seeds, p <0.001."),
        (
            [0.02, -0.03, 0.05],
            "No difference shown between arm 0 and ERM: +1.33 [-8.71, 11.37] points, 3 trial seeds; the smallest "
            "difference detectable with these is 13.19 points.",
        ),
        (
            [0.02],
            "Too few trial seeds to compare arm 0 with ERM: +2.00 points, 1 trial seed, so no interval.",
        ),
        (
            [0.01, 0.01, 0.01],
            "arm 0 differs from ERM by +1.00 points, 3 trial seeds, the same in each: there is no spread to judge by.",
        ),
        ([math.nan], "arm 0 cannot be compared with ERM yet: no trial seed has results of both."),
    ],
)
def test_one_arm_has_one_sentence(differences: list[float], sentence: str) -> None:
    assert words(differences) == (sentence,)


def test_several_arms_have_a_summary_and_the_adjusted_p() -> None:
    summary, first, *_ = words([0.02, 0.021, 0.022], [0.02, -0.03, 0.05], [math.nan, 0.01, math.nan])
    assert summary == "3 arms against ERM: 1 better, 1 no difference shown, 1 too few trial seeds."
    assert first.endswith("p 0.002 (Holm).")


def test_a_summary_over_several_baselines_names_none() -> None:
    assert words([0.1], [0.1], baselines=("ERM", "CORAL"))[0].startswith("2 arms against their baselines: ")


def test_nothing_is_said_without_a_comparison() -> None:
    assert verdicts_in_words(()) == ()
