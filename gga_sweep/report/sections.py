"""The comparison of the arms: the same sections, tables and footnotes in every format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from gga_sweep.metrics import METRICS, Metric
from gga_sweep.report.document import Footnote, Section, Sheet
from gga_sweep.report.wording import (
    ABSENT,
    ARM,
    DIFFERENCE,
    INCOMPLETE_MARK,
    Unit,
    count,
    device_time,
    difference_in_words,
    domains_in_words,
    draws_in_words,
    entry_in_words,
    gain_in_words,
    p_in_words,
    percent,
    points,
    time_in_words,
    unit_for,
)
from gga_sweep.selection import (
    ENOUGH_SEEDS,
    PHASES,
    AlgorithmGain,
    AlignmentAndScore,
    AnnealingDiagnostics,
    Comparison,
    Contrast,
    Cost,
    Diagnostic,
    FactorEffect,
    MissingPair,
    SeedEstimate,
    SelectedSteps,
    Verdict,
    alignment_over_arms,
    mean_gain,
)
from gga_sweep.selection.expected_best import SearchBudget
from gga_sweep.selection.verdict import verdicts
from gga_sweep.spec.arms import label_of, short

SEARCH_HEADS: Mapping[str, str] = {
    "gain_under_search": "Gain, as scored",
    "gain_under_fresh_masks": "Gain, fresh masks",
    "gain_on_next_minibatches": "Gain, next minibatches",
    "acceptance_rate": "Accepted (%)",
    "share_moved": "Moved (%)",
    "distance_in_radii": "Radii",
    "distance_in_updates": "Updates",
}
NOISE_HEADS: Mapping[str, str] = {
    "mean_cosine": "Mean cosine",
    "alpha": "Alpha",
    "noise_over_gradient": "Noise / gradient",
}
DETECTABLE = "Smallest detectable difference (80 % power)"
_SHARES = frozenset({"acceptance_rate", "share_moved"})


def sections(comparison: Comparison) -> Iterator[Section]:
    """The sections that the sweep has data for: differences, algorithms, factors, annealing, search budget, cost."""
    if comparison.selected:
        yield _differences(comparison)
    if comparison.algorithms and not _repeats(comparison):
        yield _algorithms(comparison.algorithms, METRICS[comparison.metric].label)
    if comparison.factors:
        yield factors_section(comparison.factors, METRICS[comparison.metric])
    if comparison.annealing:
        yield _annealing(comparison)
    if comparison.budget:
        yield _budget(comparison.budget, METRICS[comparison.metric].label)
    if any(cost.runs for cost in comparison.costs):
        yield _cost(comparison.costs)


def _differences(comparison: Comparison) -> Section:
    label = METRICS[comparison.metric].label
    baselines = {contrast.baseline for contrast in comparison.selected}
    to = f"to {baselines.pop()}" if len(baselines) == 1 else "to each arm's baseline"
    sheets = [_contrast_sheet("Selected runs", comparison.verdicts)]
    if comparison.matched:
        sheets.append(_contrast_sheet("Same draw, without search", verdicts(comparison.matched)))
    return Section(
        name="differences",
        title=f"Difference {to} (points of {label})",
        sheets=(_with_mean(sheets[0], comparison), *sheets[1:]),
        notes=tuple(_difference_notes(comparison)),
        plots=("factors",),
    )


def _contrast_sheet(title: str, found: Sequence[Verdict]) -> Sheet:
    several = len({verdict.contrast.baseline for verdict in found}) > 1
    return Sheet(
        title=title,
        heads=(ARM, DIFFERENCE, "p", "Holm", "n (pairs)", DETECTABLE),
        rows=tuple(
            (
                f"{verdict.contrast.arm} against {verdict.contrast.baseline}" if several else verdict.contrast.arm,
                *_contrast_cells(verdict.contrast),
                points(verdict.detectable, signed=False),
            )
            for verdict in found
        ),
    )


def _contrast_cells(contrast: Contrast) -> tuple[str, ...]:
    return (
        difference_in_words(contrast.difference),
        p_in_words(contrast.difference.p),
        p_in_words(contrast.holm_p),
        f"{_seeds(contrast.difference)} ({contrast.pairs}){INCOMPLETE_MARK * contrast.incomplete}",
    )


def _repeats(comparison: Comparison) -> bool:
    """Whether the table of the algorithms would repeat the table of the differences."""
    return {gain.contrast.arm for gain in comparison.algorithms} == {one.arm for one in comparison.selected}


def _with_mean(sheet: Sheet, comparison: Comparison) -> Sheet:
    """The table of the differences, with the mean over the algorithms where it has all of them."""
    if not _repeats(comparison) or (mean := mean_gain(comparison.algorithms)) is None:
        return sheet
    return replace(sheet, rows=(*sheet.rows, (*_mean_cells(mean, len(comparison.algorithms)), ABSENT)))


def _mean_cells(mean: SeedEstimate, algorithms: int) -> tuple[str, ...]:
    differences = difference_in_words(mean), p_in_words(mean.p), ABSENT, _seeds(mean)
    return f"Mean over {algorithms} algorithms", *differences


def _seeds(difference: SeedEstimate | FactorEffect) -> str:
    """ "3"; "2/3" where a trial seed is missing."""
    return f"{difference.n}" if difference.n == difference.expected else f"{difference.n}/{difference.expected}"


def _difference_notes(comparison: Comparison) -> Iterator[Footnote]:
    yield Footnote(
        "Difference",
        f"{METRICS[comparison.metric].label} of the arm minus that of its baseline, with the same test domains and "
        "trial seed, averaged within each trial seed, then over n trial seeds. Selected runs: at their selected steps. "
        + (
            "Without search: runs of the same draw, each at its own best validation step."
            if comparison.matched
            else "There is no comparison without search: draws differ between the arms, or were not trained equally "
            "long."
        ),
    )
    differences = [contrast.difference for contrast in (*comparison.selected, *comparison.matched)]
    yield Footnote("Certainty", _certainty(differences))
    for title, contrasts in (("selected runs", comparison.selected), ("same draw", comparison.matched)):
        if missing := [item for contrast in contrasts for item in missing_in_words(contrast)]:
            number = sum(len(contrast.missing) for contrast in contrasts)
            yield Footnote(
                f"Missing pairs, {title}",
                f"{count(number, 'pair')} without one side; that trial seed is left out of the arm's difference.",
                tuple(missing),
            )
    if selected := [steps for steps in comparison.steps if steps.total]:
        early = [steps for steps in selected if steps.after < steps.total]
        others = f" {'In all other' if early else 'In all'} arms, selected steps lie after the window."
        yield Footnote(
            "Selected steps",
            "up to its annealing window an arm equals its unannealed algorithm by construction."
            + others * (len(early) < len(selected)),
            tuple(map(_selected_steps, early)),
        )


def _certainty(differences: Sequence[SeedEstimate]) -> str:
    if differences[0].expected == 1:
        return "one trial seed has no spread, so there is no interval and no p."
    equal = any(difference.n > 1 and math.isnan(difference.low) for difference in differences)
    return (
        "the interval is t over trial seeds with n - 1 degrees of freedom, p two-sided, Holm is p adjusted over the "
        "arms of the table. Smallest detectable difference: the true difference that this number of trial seeds, with "
        "this spread, detects with 80 % power at the 5 % level divided by the number of arms (noncentral t)."
    ) + " No interval where the difference is the same in all trial seeds." * equal


def missing_in_words(contrast: Contrast) -> tuple[str, ...]:
    """ "ERM + GGA against ERM, test 75, trial seed 1: ERM failed (draws 0, 1)": one per cell and reason."""
    draws: dict[str, list[int]] = {}
    for pair in contrast.missing:
        draws.setdefault(_missing_pair(contrast, pair), []).extend([] if pair.draw is None else [pair.draw])
    return tuple(words + draws_in_words(numbers) for words, numbers in draws.items())


def _missing_pair(contrast: Contrast, pair: MissingPair) -> str:
    lacking = ", ".join(f"{arm} {why}" for arm, why in pair.lacking.items())
    place = f"test {domains_in_words(pair.test_domains)}, trial seed {pair.trial_seed}"
    return f"{contrast.arm} against {contrast.baseline}, {place}: {lacking}"


def _selected_steps(steps: SelectedSteps) -> str:
    """ "ERM + GGA: 2 before the window (22.2 %), 7 after (77.8 %)"."""
    places = {"before the window": steps.before, "inside": steps.inside, "after": steps.after}
    shares = [f"{n} {place} ({percent(n / steps.total)} %)" for place, n in places.items() if n]
    return f"{steps.arm}: {', '.join(shares)}"


def _algorithms(gains: Sequence[AlgorithmGain], metric: str) -> Section:
    """One line per algorithm, as in the paper's table."""
    rows = [
        (one.contrast.arm, entry_in_words(one.alone), entry_in_words(one.annealed), *_contrast_cells(one.contrast))
        for one in gains
    ]
    note = (
        f"each annealed arm and the same algorithm without annealing: {metric} averaged over the test domains, and "
        f"the difference of the selected runs as above, with p adjusted over these {len(gains)} lines only."
    )
    if mean := mean_gain(gains):
        name, *difference = _mean_cells(mean, len(gains))
        rows.append((name, ABSENT, ABSENT, *difference))
        note += " The mean is over the algorithms within a trial seed, then over trial seeds."
    return Section(
        name="algorithms",
        title=f"Annealing on each algorithm ({metric} in percent, difference in points)",
        sheets=(Sheet("", (ARM, "Not annealed", "Annealed", DIFFERENCE, "p", "Holm", "n (pairs)"), tuple(rows)),),
        notes=(Footnote("Algorithms", note),),
    )


def factors_section(factors: Sequence[FactorEffect], metric: Metric) -> Section:
    """How far the levels of each factor lie apart, in the order given."""
    rows = tuple(
        (
            f"{label_of(one.factor)} ({one.block})" if _repeated(one, factors) else label_of(one.factor),
            ", ".join(f"{short(level)}: {percent(mean)}" for level, mean in zip(one.levels, one.means, strict=True)),
            _spread(one),
            p_in_words(one.p),
            p_in_words(one.holm_p),
            _seeds(one),
        )
        for one in factors
    )
    return Section(
        name="factors",
        title="Which factor matters",
        sheets=(
            Sheet(
                "",
                (
                    "Factor",
                    f"{metric.heading} by level",
                    "Spread [95\N{NO-BREAK SPACE}%]",
                    "p",
                    "Holm",
                    "n",
                ),
                rows,
            ),
        ),
        notes=(
            Footnote(
                "Factors",
                "levels of one factor at equal settings otherwise, the largest spread first. Spread: standard "
                "deviation between the true means of the levels, in points, without what trial seeds explain; its "
                "interval is of a noncentral F. p: of equal means, by permutation of the levels within trial seeds; "
                "Holm is p adjusted over the factors. Where no p is small, the order of the factors is not known.",
            ),
        ),
    )


def _repeated(one: FactorEffect, factors: Sequence[FactorEffect]) -> bool:
    return [other.factor for other in factors].count(one.factor) > 1


def _spread(one: FactorEffect) -> str:
    """ "0.82 [0.00, 1.60]", the interval where there is one."""
    low, high = (points(end, signed=False) for end in (one.low, one.high))
    return points(one.spread, signed=False) + f" [{low}, {high}]" * math.isfinite(one.low)


def _annealing(comparison: Comparison) -> Section:
    diagnostics = comparison.annealing
    searching = [one for one in diagnostics if one.searches]
    noisy = [one for one in diagnostics if one.noise]
    sheets = []
    if searching:
        sheets.append(
            _diagnostics_sheet("Candidate searches", SEARCH_HEADS, {one.arm: one.searches for one in searching})
        )
    if noisy:
        sheets.append(_diagnostics_sheet("GGA-L", NOISE_HEADS, {one.arm: one.noise for one in noisy}))
    return Section(
        name="annealing",
        title="What annealing did",
        sheets=tuple(sheets),
        notes=(
            *_annealing_notes(diagnostics, searching, noisy),
            *_alignment_over_arms(comparison.gains, METRICS[comparison.metric].label),
        ),
        plots=("alignment",),
    )


def _diagnostics_sheet(title: str, heads: Mapping[str, str], arms: Mapping[str, Mapping[str, Diagnostic]]) -> Sheet:
    return Sheet(
        title=title,
        heads=(ARM, *heads.values()),
        rows=tuple((arm, *(_quantity(name, found[name].mean) for name in heads)) for arm, found in arms.items()),
    )


def _quantity(name: str, mean: SeedEstimate) -> str:
    if name.startswith("gain_"):
        return gain_in_words(mean)
    if math.isnan(mean.mean):
        return ABSENT
    value, error = (percent, percent) if name in _SHARES else ("{:.3g}".format, "{:.2g}".format)
    return value(mean.mean) + (f" ± {error(mean.population_error)}" if math.isfinite(mean.low) else "")


def _annealing_notes(
    diagnostics: Sequence[AnnealingDiagnostics],
    searching: Sequence[AnnealingDiagnostics],
    noisy: Sequence[AnnealingDiagnostics],
) -> Iterator[Footnote]:
    runs = "; ".join(f"{one.arm}: {count(one.steps, 'step')} of {count(one.runs, 'run')}" for one in diagnostics)
    yield Footnote(
        "Numbers",
        "means over annealed steps, then over the final runs of a trial seed, then over trial seeds; ± is the standard "
        f"error over these (ddof 0), brackets the 95 % interval (t, n - 1 degrees of freedom). {runs}.",
    )
    if searching:
        yield Footnote(
            "Candidate searches",
            "gain is the smallest cosine between domain gradients after a step's candidate search minus before it: as "
            "scored by the search, under fresh dropout masks, and on the next minibatches. Accepted: share of the "
            "candidates tried. Moved: share of the steps. Distance: in radii (1 is a corner of the box) and in "
            "optimiser updates.",
        )
    if noisy:
        yield Footnote(
            "GGA-L",
            "mean cosine over pairs of domain gradients; alpha: scale of the noise; noise / gradient: norm of the "
            "noise over that of the joint gradient.",
        )
    if sparse := tuple(_rarely_measured(searching)):
        yield Footnote("Diagnosed steps", "the other gains were not measured (annealing.diagnose_every).", sparse)
    if left_out := tuple(_left_out(diagnostics)):
        yield Footnote("Left out", "undefined values, such as a cosine with a zero gradient.", left_out)


def _alignment_over_arms(gains: Sequence[AlignmentAndScore], metric: str) -> Iterator[Footnote]:
    if mean := alignment_over_arms(gains):
        interval = f" [{mean.low:.2f}, {mean.high:.2f}]" * math.isfinite(mean.low)
        yield Footnote(
            f"More alignment, more {metric}",
            f"the rank correlation over the {len(gains)} arms that search, of alignment gained (fresh masks) and "
            f"{metric} gained, is {mean.mean:.2f}{interval}, the mean over {count(mean.n, 'trial seed')}.",
        )


def _rarely_measured(searching: Iterable[AnnealingDiagnostics]) -> Iterator[str]:
    """ "ERM + GGA: 33 of 303 steps (gain, fresh masks; gain, next minibatches)"."""
    for one in searching:
        for measured in sorted({found.measured for found in one.searches.values()} - {one.steps}):
            heads = [SEARCH_HEADS[name].lower() for name, found in one.searches.items() if found.measured == measured]
            yield f"{one.arm}: {measured} of {count(one.steps, 'step')} ({'; '.join(heads)})"


def _left_out(diagnostics: Iterable[AnnealingDiagnostics]) -> Iterator[str]:
    """ "ERM + GGA: 3 of 200 steps (gain, as scored)"."""
    heads = {**SEARCH_HEADS, **NOISE_HEADS}
    for one in diagnostics:
        for name, found in {**one.searches, **one.noise}.items():
            if found.left_out:
                yield f"{one.arm}: {found.left_out} of {count(found.measured, 'step')} ({heads[name].lower()})"


def _budget(budgets: Sequence[SearchBudget], metric: str) -> Section:
    """The number of draws doubles from column to column, up to all draws of each arm."""
    most = [len(budget.draws) for budget in budgets]
    shown = sorted({2**i for n in most for i in range(n.bit_length())} | {*most})
    unit = unit_for(budget.seconds_a_draw for budget in budgets)
    return Section(
        name="budget",
        title=f"Search budget (expected {metric} of the selected run, %)",
        sheets=(
            Sheet(
                title="",
                heads=(ARM, *(count(k, "draw") for k in shown), f"{unit.name.capitalize()} a draw"),
                rows=tuple(_budget_row(budget, shown, unit) for budget in budgets),
            ),
        ),
        notes=tuple(_budget_notes(budgets, metric)),
        plots=("budget-differences", "budget-draws", "budget-time"),
    )


def _budget_row(budget: SearchBudget, shown: Sequence[int], unit: Unit) -> tuple[str, ...]:
    expected = dict(zip(budget.draws, budget.scores, strict=True))
    return (
        budget.arm,
        *(_expected(expected[k]) if k in expected else ABSENT for k in shown),
        time_in_words(budget.seconds_a_draw / unit.seconds),
    )


def _expected(score: SeedEstimate) -> str:
    """ "84.7 [81.2, 88.2]", the interval where there is one."""
    interval = f" [{percent(score.low)}, {percent(score.high)}]" if math.isfinite(score.low) else ""
    return percent(score.mean) + interval


def _budget_notes(budgets: Sequence[SearchBudget], metric: str) -> Iterator[Footnote]:
    yield Footnote(
        "Search budget",
        f"expected {metric} of the run selected among this number of draws of a cell, over all subsets of the sweep's "
        "draws (in closed form); mean over test domains within a trial seed, then over trial seeds"
        f"{_intervals(budgets)}. One draw: the mean of the runs; all draws: the selected runs. Time: "
        "of one draw in one cell, the mean of the selectable runs. Arms of a user's own searcher are left out, because "
        "their draws depend on each other.",
    )
    uneven = [budget for budget in budgets if budget.largest_cell > len(budget.draws)]
    if uneven:
        yield Footnote(
            "Fewest draws",
            "a budget ends with the smallest cell of its arm; larger cells have more runs than it counts.",
            tuple(f"{one.arm}: {len(one.draws)} to {one.largest_cell} runs a cell" for one in uneven),
        )
    if left_out := [budget for budget in budgets if budget.left_out]:
        counts = tuple(f"{budget.arm}: {count(budget.left_out, 'run')}" for budget in left_out)
        yield Footnote("Not selectable", "left out of the budgets: runs that cannot be selected.", counts)


def _intervals(budgets: Sequence[SearchBudget]) -> str:
    if max(one.n for budget in budgets for one in budget.scores) < ENOUGH_SEEDS:
        return f"; too few trial seeds for an interval (at least {ENOUGH_SEEDS})"
    return ", with its 95 % interval (t, n - 1 degrees of freedom, within 0 and 100 %)"


def _cost(costs: Sequence[Cost]) -> Section:
    unit = unit_for(cost.total for cost in costs)
    pairs = any(cost.of_pairs for cost in costs)
    inherited = math.fsum(cost.inherited for cost in costs)
    shared = f" {device_time(inherited)} of the totals were trained once for several runs."
    heads = (
        ARM,
        "Runs",
        f"Total ({unit.name})",
        "A run",
        *(phase.capitalize() for phase in PHASES),
        "Ratio",
        "Ratio without diagnostics",
    )
    return Section(
        name="cost",
        title="Cost",
        sheets=(Sheet("", heads, tuple(_cost_row(cost, unit) for cost in costs)),),
        notes=(
            Footnote(
                "Cost",
                f"the total, in {unit.name}, is of all runs of any status; the other columns are means over done runs"
                f"{' without those on pairs of test domains' * pairs}, in device-seconds. Ratio: time of a run over "
                "that of a run of the arm's baseline, with and without the time for diagnostics."
                f"{shared * (inherited > 0)}",
            ),
        ),
    )


def _cost_row(cost: Cost, unit: Unit) -> tuple[str, ...]:
    return (
        cost.arm,
        _runs(cost),
        time_in_words(cost.total / unit.seconds if cost.runs else math.nan),
        time_in_words(cost.a_run),
        *(time_in_words(cost.seconds_a_run.get(phase, math.nan)) for phase in PHASES),
        *(_ratio(ratio) for ratio in (cost.ratio, cost.ratio_without_diagnostics)),
    )


def _runs(cost: Cost) -> str:
    """ "12", or with what is not among the means: "12 (8 of pairs, 3 done)"."""
    parts = [f"{cost.of_pairs} of pairs"] * (cost.of_pairs > 0)
    parts += [f"{cost.done} done"] * (cost.done < cost.runs - cost.of_pairs)
    return f"{cost.runs}" + (f" ({', '.join(parts)})" if parts else "")


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if math.isfinite(ratio) else ABSENT
