"""The primary contrasts of docs/findings.md, as its plans of analysis define them, with p adjusted over them (Holm).

gga-sweep run gga-ablation
python docs/studies/primary_contrasts.py gga-sweep-results/gga-ablation
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

import gga_sweep
from gga_sweep.report.make_report import Report
from gga_sweep.report.wording import difference_in_words, p_in_words, points
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
    """The primary contrasts of a sweep, and their estimand."""

    estimand: Literal["selected", "matched"]
    contrasts: tuple[Contrast, ...]


PLANS = {
    "gga-ablation": Plan(
        "selected",
        (
            Contrast("Annealing at all: mean over the twelve settings of paper, minus ERM", PAPER, "ERM"),
            Contrast("Alignment that lasts: guided minus ERM", (GUIDED_20,), "ERM"),
            Contrast("Alignment as the cause: guided minus guided towards less", (GUIDED_20,), LESS_ALIGNED),
        ),
    ),
    "findings-pretrained": Plan(
        "matched",
        (
            Contrast("paper minus ERM", ("ERM + GGA",), "ERM"),
            Contrast("guided minus ERM", (GUIDED,), "ERM"),
            Contrast("Alignment as the cause: guided minus guided towards less", (GUIDED,), LESS_ALIGNED),
        ),
    ),
}


def differences(report: Report, plan: Plan) -> Iterator[SeedEstimate]:
    """Of each contrast, the mean over its arms within a trial seed, then over trial seeds."""
    for _, arms, baseline in plan.contrasts:
        baselines = dict.fromkeys(arms, baseline)
        found = (
            selected_contrasts(report.table, baselines)
            if plan.estimand == "selected"
            else matched_contrasts(report.view, baselines)
        )
        yield estimate([fmean(of_seed) for of_seed in zip(*(one.difference.values for one in found), strict=True)])


def as_markdown(report: Report, plan: Plan) -> str:
    found = [*differences(report, plan)]
    adjusted = holm([one.p for one in found])
    lines = [
        f"| primary contrast, {plan.estimand} | points [95 %] | p | Holm | trial seeds | detectable |",
        "|---|---|---|---|---|---|",
    ]
    for contrast, one, p in zip(plan.contrasts, found, adjusted, strict=True):
        cells = (
            difference_in_words(one),
            p_in_words(one.p),
            p_in_words(p),
            str(one.n),
            points(one.detectable, signed=False),
        )
        lines.append(f"| {contrast.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="STORAGE/SWEEP of gga-ablation or findings-pretrained")
    report = gga_sweep.result(parser.parse_args(arguments).folder).report
    print(as_markdown(report, PLANS[report.view.name]))


if __name__ == "__main__":
    main()
