"""The tables of the two ablations in docs/findings.md, in Markdown: primary contrasts, arms, controls and factors.

gga-sweep run gga-ablation
python docs/studies/ablation_tables.py gga-sweep-results/gga-ablation
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

import gga_sweep
from gga_sweep.metrics import METRICS
from gga_sweep.report.make_report import Report
from gga_sweep.report.sections import factors_section
from gga_sweep.report.wording import (
    ABSENT,
    difference_in_words,
    entry_in_words,
    gain_in_words,
    p_in_words,
    points,
)
from gga_sweep.selection.contrasts import Contrast as Compared
from gga_sweep.selection.contrasts import matched_contrasts, selected_contrasts
from gga_sweep.selection.seed_statistics import SeedEstimate, estimate, holm

PAPER = (
    *(f"ERM + GGA, radius {radius}" for radius in ("1e-5", "1e-4", "1e-3", "0.01")),
    *(f"ERM + GGA, start step {step}" for step in (0, 60, 100)),
    *(f"ERM + GGA, num steps {number}" for number in (5, 100)),
    *(f"ERM + GGA, num candidates {number}" for number in (2, 32, 128)),
)
GUIDED = "ERM + GGA guided"
GUIDED_20 = f"{GUIDED}, num candidates 4, num steps 20"
LESS_ALIGNED = "Control guided to least aligned"


class Contrast(NamedTuple):
    """The mean over some arms minus one arm."""

    name: str
    arms: tuple[str, ...]
    baseline: str


class Plan(NamedTuple):
    """What the plan of analysis of a sweep defines.

    Args:
        estimand: of all contrasts here.
        contrasts: the primary ones.
        controlled: the arm that the controls are compared with.
        factors: over which p is adjusted (Holm).
    """

    estimand: Literal["selected", "matched"]
    contrasts: tuple[Contrast, ...]
    controlled: str
    factors: tuple[str, ...] = ()


PLANS = {
    "gga-ablation": Plan(
        "selected",
        (
            Contrast("Annealing at all: mean over the twelve settings of paper, minus ERM", PAPER, "ERM"),
            Contrast("Alignment that lasts: guided minus ERM", (GUIDED_20,), "ERM"),
            Contrast("Alignment as the cause: guided minus guided towards less", (GUIDED_20,), LESS_ALIGNED),
        ),
        "ERM + GGA, radius 1e-3",
        ("radius", "start_step", "num_steps", "num_candidates"),
    ),
    "findings-pretrained": Plan(
        "matched",
        (
            Contrast("paper minus ERM", ("ERM + GGA",), "ERM"),
            Contrast("guided minus ERM", (GUIDED,), "ERM"),
            Contrast("Alignment as the cause: guided minus guided towards less", (GUIDED,), LESS_ALIGNED),
        ),
        "ERM + GGA",
    ),
}


def differences(report: Report, plan: Plan) -> Iterator[SeedEstimate]:
    """Of each primary contrast, the mean over its arms within a trial seed, then over trial seeds."""
    for _, arms, baseline in plan.contrasts:
        found = _compared(report, plan, dict.fromkeys(arms, baseline))
        yield estimate([fmean(of_seed) for of_seed in zip(*(one.difference.values for one in found), strict=True)])


def primary_table(report: Report, plan: Plan) -> str:
    found = [*differences(report, plan)]
    rows = [
        (
            contrast.name,
            difference_in_words(one),
            p_in_words(one.p),
            p_in_words(p),
            str(one.n),
            points(one.detectable, signed=False),
        )
        for contrast, one, p in zip(plan.contrasts, found, holm([one.p for one in found]), strict=True)
    ]
    return _table(
        (f"primary contrast, {plan.estimand}", "points [95 %]", "p", "Holm", "trial seeds", "detectable"), rows
    )


def arm_table(report: Report) -> str:
    """Every arm: its average accuracy, its differences to ERM, and its gains in alignment."""
    compared = report.comparison
    differing = [{one.arm: one for one in found} for found in (compared.selected, compared.matched)]
    searched = {one.arm: one.searches for one in compared.annealing}
    rows = []
    for row in report.table.rows:
        cells = [row.arm, entry_in_words(row.average)]
        for by_arm in differing:
            one = by_arm.get(row.arm)
            cells += [difference_in_words(one.difference), p_in_words(one.holm_p)] if one else [ABSENT, ABSENT]
        gains = searched.get(row.arm, {})
        for name in ("gain_under_fresh_masks", "gain_on_next_minibatches"):
            cells.append(gain_in_words(gains[name].mean) if name in gains else ABSENT)
        rows.append(tuple(cells))
    heads = (
        "arm",
        "average (%)",
        "selected [95 %]",
        "Holm",
        "matched [95 %]",
        "Holm",
        "fresh masks",
        "next minibatches",
    )
    return _table(heads, rows)


def control_table(report: Report, plan: Plan) -> str:
    """The annealed arm minus each control."""
    controls = [row.arm for row in report.table.rows if row.arm.startswith("Control")]
    rows = []
    for control in controls:
        (one,) = _compared(report, plan, {plan.controlled: control})
        rows.append((control, difference_in_words(one.difference), p_in_words(one.difference.p)))
    return _table((f"{plan.controlled} minus, {plan.estimand}", "points [95 %]", "p"), rows)


def factor_table(report: Report, plan: Plan) -> str:
    """The plan's factors, the largest spread between levels first."""
    names = {f"annealing.{name}" for name in plan.factors}
    found = [
        one
        for one in report.comparison.factors
        if one.factor in names and any(plan.controlled in arms for arms in one.arms)
    ]
    adjusted = [replace(one, holm_p=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]
    (sheet,) = factors_section(adjusted, METRICS[report.comparison.metric]).sheets
    return _table(sheet.heads, sheet.rows)


def _compared(report: Report, plan: Plan, baselines: dict[str, str]) -> tuple[Compared, ...]:
    if plan.estimand == "selected":
        return selected_contrasts(report.table, baselines)
    return matched_contrasts(report.view, baselines)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (heads, ["---"] * len(heads), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="STORAGE/SWEEP of gga-ablation or findings-pretrained")
    report = gga_sweep.result(parser.parse_args(arguments).folder).report
    plan = PLANS[report.view.name]
    tables = [primary_table(report, plan), arm_table(report), control_table(report, plan)]
    print("\n\n".join(tables + [factor_table(report, plan)] * bool(plan.factors)))


if __name__ == "__main__":
    main()
