"""Verdicts in words: the first lines of every report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from gga_sweep.report.wording import count, difference_in_words, p_in_words, points
from gga_sweep.selection import Finding, Verdict

_OUTCOMES = {
    Finding.BETTER: "better",
    Finding.WORSE: "worse",
    Finding.NO_DIFFERENCE_SHOWN: "no difference shown",
    Finding.NO_SPREAD: "the same difference in all trial seeds",
    Finding.TOO_FEW_SEEDS: "too few trial seeds",
    Finding.NO_PAIRS: "no complete pair yet",
}


def verdict_in_words(verdict: Verdict) -> str:
    """One sentence on one arm, with the difference, its interval, the number of trial seeds and what was detectable."""
    contrast = verdict.contrast
    arm, baseline, difference = contrast.arm, contrast.baseline, contrast.difference
    measured = f"{difference_in_words(difference)} points, {count(difference.n, 'trial seed')}"
    match verdict.finding:
        case Finding.BETTER | Finding.WORSE as finding:
            holm = f", p {p_in_words(contrast.holm_p)}" + " (Holm)" * (verdict.compared > 1)
            return f"{arm} is {finding} than {baseline}: {measured}{holm}."
        case Finding.NO_DIFFERENCE_SHOWN:
            return f"No difference shown between {arm} and {baseline}: {measured}{_detectable(verdict)}."
        case Finding.TOO_FEW_SEEDS:
            return f"Too few trial seeds to compare {arm} with {baseline}: {measured}{_detectable(verdict)}."
        case Finding.NO_SPREAD:
            return f"{arm} differs from {baseline} by {measured}, the same in each: there is no spread to judge by."
        case Finding.NO_PAIRS:
            return f"{arm} cannot be compared with {baseline} yet: no trial seed has results of both."


def verdicts_in_words(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """The sentences on all arms; of several arms, a summary first."""
    sentences = tuple(map(verdict_in_words, verdicts))
    return sentences if len(sentences) < 2 else (_summary(verdicts), *sentences)


def _summary(verdicts: Sequence[Verdict]) -> str:
    """ "7 arms against their baselines: 1 better, 6 no difference shown."."""
    baselines = {verdict.contrast.baseline for verdict in verdicts}
    against = baselines.pop() if len(baselines) == 1 else "their baselines"
    counts = Counter(verdict.finding for verdict in verdicts)
    outcomes = ", ".join(f"{counts[finding]} {words}" for finding, words in _OUTCOMES.items() if counts[finding])
    return f"{len(verdicts)} arms against {against}: {outcomes}."


def _detectable(verdict: Verdict) -> str:
    if math.isnan(verdict.detectable):
        return ", so no interval"
    return f"; the smallest difference detectable with these is {points(verdict.detectable, signed=False)} points"
