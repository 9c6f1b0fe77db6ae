"""Verdicts in words: each names the arm, its baseline, the difference, its interval and the trial seeds."""

from __future__ import annotations

import math

import pytest

from gga_sweep.report.verdict import answer_in_words, verdicts_in_words
from gga_sweep.selection.contrasts import Contrast
from gga_sweep.selection.seed_statistics import estimate, holm
from gga_sweep.selection.verdict import Verdict, verdicts


def words(*differences: list[float], baselines: tuple[str, ...] = ("ERM",)) -> tuple[str, ...]:
    return verdicts_in_words(found(*differences, baselines=baselines))


def found(*differences: list[float], baselines: tuple[str, ...] = ("ERM",)) -> tuple[Verdict, ...]:
    estimates = [estimate(values) for values in differences]
    adjusted = holm([one.p for one in estimates])
    contrasts = [
        Contrast(f"arm {i}", baselines[i % len(baselines)], "selected", one, p, one.n, (), one.n < one.expected)
        for i, (one, p) in enumerate(zip(estimates, adjusted, strict=True))
    ]
    return verdicts(contrasts)


@pytest.mark.parametrize(
    ("differences", "sentence"),
    [
        (
            [0.02, 0.021, 0.022],
            "arm 0 is better than ERM: +2.10 points, 95 % interval [1.85, 2.35], 3 trial seeds, p <0.001.",
        ),
        (
            [-0.02, -0.021, -0.022],
            "arm 0 is worse than ERM: -2.10 points, 95 % interval [-2.35, -1.85], 3 trial seeds, p <0.001.",
        ),
        (
            [0.02, -0.03, 0.05],
            "No difference shown between arm 0 and ERM: +1.33 points, 95 % interval [-8.71, 11.37], 3 trial seeds. The "
            "smallest detectable difference is 13.19 points (80 % power).",
        ),
        (
            [0.02, -0.03, math.nan],
            "Too few trial seeds to compare arm 0 with ERM: -0.50 points, 95 % interval [-32.27, 31.27], 2 of 3 trial "
            "seeds (runs missing). The smallest detectable difference is 40.84 points (80 % power).",
        ),
        ([0.02], "Too few trial seeds to compare arm 0 with ERM: +2.00 points, 1 trial seed. There is no interval."),
        (
            [0.01, 0.01, 0.01],
            "No verdict on arm 0 against ERM: +1.00 points, 3 trial seeds, the same in each, so there is no interval.",
        ),
        ([math.nan], "No verdict on arm 0 against ERM yet: no trial seed has results of both."),
    ],
)
def test_one_arm_has_one_sentence(differences: list[float], sentence: str) -> None:
    assert words(differences) == (sentence,)


def test_several_arms_have_a_summary_and_the_adjusted_p() -> None:
    summary, first, *_ = words([0.02, 0.021, 0.022], [0.02, -0.03, 0.05], [math.nan, 0.01, math.nan])
    assert summary == "3 arms against ERM: 1 better, 1 with no difference shown, 1 with too few trial seeds."
    assert first.endswith("p 0.002 (Holm, 2 arms).")


def test_a_p_that_holm_raises_above_the_level_is_given_although_the_interval_leaves_zero_out() -> None:
    _, first, _ = words([0.01, 0.02, 0.04, 0.02], [0.02, -0.03, 0.05, 0.03])
    assert "interval [0.25, 4.25]" in first  # without zero
    assert first.startswith("No difference shown")
    assert "p 0.075 (Holm, 2 arms)" in first


def test_a_summary_over_several_baselines_names_none() -> None:
    assert words([0.1], [0.1], baselines=("ERM", "CORAL"))[0].startswith("2 arms against their baselines: ")


def test_nothing_is_said_without_a_comparison() -> None:
    assert verdicts_in_words(()) == ()


def test_a_short_answer_has_a_summary_the_largest_differences_and_what_was_detectable_of_the_others() -> None:
    better = [[0.01 * i, 0.01 * i + 0.0001, 0.01 * i + 0.0002] for i in range(1, 6)]
    summary, *sentences, rest, detectable = answer_in_words(found([0.02, -0.03, 0.05], *better, [0.01, -0.03, 0.04]))
    assert summary == "7 arms against ERM: 5 better, 2 with no difference shown."
    assert [sentence[: len("arm 5 is better")] for sentence in sentences] == [f"arm {i} is better" for i in (5, 4, 3)]
    assert rest == "And 2 more arms better or worse."
    assert detectable == "The smallest detectable difference is 30.42 to 35.01 points, by arm (80 % power)."


def test_a_short_answer_on_one_arm_is_its_verdict() -> None:
    one = found([0.02, -0.03, 0.05])
    assert answer_in_words(one) == verdicts_in_words(one)
    assert answer_in_words(()) == ()
