"""Verdicts in words: the first lines of every report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from gga_sweep.report.wording import count, p_in_words, points
from gga_sweep.selection import Finding, Verdict
from gga_sweep.selection.seed_statistics import LEVEL

_MOST = 3
"""So many arms that differ from their baselines have a sentence in a short answer."""

_OUTCOMES = {
    Finding.BETTER: "better",
    Finding.WORSE: "worse",
    Finding.NO_DIFFERENCE_SHOWN: "with no difference shown",
    Finding.NO_SPREAD: "with the same difference in all trial seeds",
    Finding.TOO_FEW_SEEDS: "with too few trial seeds",
    Finding.NO_PAIRS: "without a complete pair yet",
}


def verdict_in_words(verdict: Verdict) -> str:
    """The verdict on one arm, with the difference, its interval, the number of trial seeds and what was detectable."""
    contrast = verdict.contrast
    arm, baseline, difference = contrast.arm, contrast.baseline, contrast.difference
    interval = ""
    if math.isfinite(difference.low):
        interval = f", 95 % interval [{points(difference.low, signed=False)}, {points(difference.high, signed=False)}]"
    of = f"{difference.n} of " * (difference.n < difference.expected)
    seeds = f"{of}{count(difference.expected, 'trial seed')}{' (runs missing)' * contrast.incomplete}"
    measured = f"{points(difference.mean)} points{interval}, {seeds}"
    match verdict.finding:
        case Finding.BETTER | Finding.WORSE as finding:
            return f"{arm} is {finding} than {baseline}: {measured}, {_p(verdict)}."
        case Finding.NO_DIFFERENCE_SHOWN:
            p = f", {_p(verdict)}" * (difference.p <= LEVEL)  # otherwise the interval holds zero, which says it
            return f"No difference shown between {arm} and {baseline}: {measured}{p}. {_detectable(verdict)}"
        case Finding.TOO_FEW_SEEDS:
            return f"Too few trial seeds to compare {arm} with {baseline}: {measured}. {_detectable(verdict)}"
        case Finding.NO_SPREAD:
            return f"No verdict on {arm} against {baseline}: {measured}, the same in each, so there is no interval."
        case Finding.NO_PAIRS:
            return f"No verdict on {arm} against {baseline} yet: no trial seed has results of both."


def verdicts_in_words(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """The sentences on all arms; of several arms, a summary first."""
    sentences = tuple(map(verdict_in_words, verdicts))
    return sentences if len(sentences) < 2 else (_summary(verdicts), *sentences)


def answer_in_words(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """The same in a few lines: of several arms the summary, those that differ, and what was detectable of the others.

    The table beside it has the differences.
    """
    if len(verdicts) < 2:
        return verdicts_in_words(verdicts)
    differ = [verdict for verdict in verdicts if verdict.finding in (Finding.BETTER, Finding.WORSE)]
    differ.sort(key=lambda verdict: -abs(verdict.contrast.difference.mean))
    sentences = [_summary(verdicts), *map(verdict_in_words, differ[:_MOST])]
    if len(differ) > _MOST:
        sentences.append(f"And {count(len(differ) - _MOST, 'more arm')} better or worse.")
    if detectable := [one.detectable for one in verdicts if one not in differ and math.isfinite(one.detectable)]:
        ends = dict.fromkeys(points(end, signed=False) for end in (min(detectable), max(detectable)))
        by_arm = ", by arm" * (len(ends) > 1)
        sentences.append(f"The smallest detectable difference is {' to '.join(ends)} points{by_arm} (80 % power).")
    return tuple(sentences)


def _summary(verdicts: Sequence[Verdict]) -> str:
    """ "7 arms against their baselines: 1 better, 6 with no difference shown."."""
    baselines = {verdict.contrast.baseline for verdict in verdicts}
    against = baselines.pop() if len(baselines) == 1 else "their baselines"
    counts = Counter(verdict.finding for verdict in verdicts)
    outcomes = ", ".join(f"{counts[finding]} {words}" for finding, words in _OUTCOMES.items() if counts[finding])
    return f"{len(verdicts)} arms against {against}: {outcomes}."


def _p(verdict: Verdict) -> str:
    """ "p 0.012"; of several arms "p 0.036 (Holm, 3 arms)"."""
    holm = f" (Holm, {verdict.compared} arms)" * (verdict.compared > 1)
    return f"p {p_in_words(verdict.contrast.holm_p)}{holm}"


def _detectable(verdict: Verdict) -> str:
    if math.isnan(verdict.detectable):
        return "There is no interval."
    return f"The smallest detectable difference is {points(verdict.detectable, signed=False)} points (80 % power)."
