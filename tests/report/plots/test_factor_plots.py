"""Factors: which arms form a curve, and what is drawn of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn import drawn
from invented_sweep import invented_sweep
from matplotlib.axes import Axes
from scipy import stats

from gga_sweep.records import Scalar
from gga_sweep.report.plots.factors import FactorPanel, difference_against_factors, factor_panels
from gga_sweep.report.plots.style import arm_color
from gga_sweep.selection import SweepView, build_table, compare

RADIUS, STEPS, OBJECTIVE = "annealing.radius", "annealing.num_steps", "annealing.objective"
FACTORS: dict[str, dict[str, Scalar]] = {
    "ERM + GGA, radius 1e-5, num steps 5": {RADIUS: 1e-5, STEPS: 5},
    "ERM + GGA, radius 1e-3, num steps 5": {RADIUS: 1e-3, STEPS: 5},
    "ERM + GGA, radius 1e-5, num steps 20": {RADIUS: 1e-5, STEPS: 20},
    "ERM + GGA, radius 1e-3, num steps 20": {RADIUS: 1e-3, STEPS: 20},
}


def sweep_of(factors: dict[str, dict[str, Scalar]], baseline: str = "ERM", **changes: object) -> SweepView:
    sweep = invented_sweep(arms=(baseline, *factors), draws=2, troubled=False)
    blocks = {arm: arm.rsplit(", ", len(values))[0] for arm, values in factors.items()}
    return replace(sweep, factors=factors, blocks=blocks, baselines=dict.fromkeys(factors, baseline), **changes)


def test_each_numeric_factor_of_a_block_gives_a_panel_with_a_curve_for_every_value_of_the_others() -> None:
    names = list(FACTORS)
    assert factor_panels(sweep_of(FACTORS)) == [
        FactorPanel(
            "ERM + GGA",
            RADIUS,
            "ERM",
            {"num steps 5": {1e-5: names[0], 1e-3: names[1]}, "num steps 20": {1e-5: names[2], 1e-3: names[3]}},
        ),
        FactorPanel(
            "ERM + GGA",
            STEPS,
            "ERM",
            {"radius 1e-5": {5.0: names[0], 20.0: names[2]}, "radius 1e-3": {5.0: names[1], 20.0: names[3]}},
        ),
    ]


def test_blocks_with_the_same_factor_stay_apart() -> None:
    blocks = {f"ERM + GGA{kind}, radius {radius:g}": {RADIUS: radius} for kind in ("", " guided") for radius in (1, 2)}
    panels = factor_panels(sweep_of(blocks))
    assert [(panel.block, [*panel.curves[""].values()]) for panel in panels] == [
        ("ERM + GGA", [*blocks][:2]),
        ("ERM + GGA guided", [*blocks][2:]),
    ]
    several = replace(sweep_of(blocks), baselines={next(iter(blocks)): "ERM"})
    assert [panel.block for panel in factor_panels(several)] == ["ERM + GGA guided"]


def test_words_switches_and_single_values_make_no_curve() -> None:
    words = {f"a, objective {word}": {OBJECTIVE: word} for word in ("none", "anti")}
    switches = {f"a, cuda graph {switch}": {"annealing.cuda_graph": switch} for switch in (True, False)}
    for factors in (words, switches, {"a, radius 1": {RADIUS: 1}}, {}):
        assert factor_panels(sweep_of(factors)) == []


def test_a_factor_of_words_splits_the_curves_of_a_number() -> None:
    factors: dict[str, dict[str, Scalar]] = {
        f"a, radius {radius}, objective {word}": {RADIUS: radius, OBJECTIVE: word}
        for radius in (1, 2)
        for word in ("none", "anti")
    }
    (panel,) = factor_panels(sweep_of(factors))
    assert [*panel.curves] == ["objective none", "objective anti"]


def marks(axes: Axes) -> dict[str, tuple[float, float, str]]:
    """By arm: mean, reach of the interval (0 without one), and colour."""
    found = {}
    for container in axes.containers:
        line, _, bars = container.lines
        (mean,) = line.get_ydata()
        reach = 0.0
        if bars:
            (low, high) = bars[0].get_segments()[0][:, 1]
            reach = (high - low) / 2
        found[str(line.get_gid()).partition(" ")[2]] = (mean, reach, line.get_color())
    return found


def panels_of(sweep: SweepView) -> list[Axes]:
    table = build_table(sweep)
    return drawn(difference_against_factors(sweep, table, compare(sweep, table))).axes


def averages(sweep: SweepView, arm: str) -> np.ndarray:
    """In percent, one a trial seed."""
    return 100 * np.array(next(row for row in build_table(sweep).rows if row.arm == arm).average.values)


def mean_and_reach(values: np.ndarray) -> tuple[float, float]:
    """With the t interval over trial seeds."""
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean(), reach


def test_marks_are_paired_differences_with_their_t_interval_in_the_colour_of_their_arm() -> None:
    sweep = sweep_of(FACTORS)
    of_radius, _ = panels_of(sweep)
    assert of_radius.get_xlabel() == RADIUS
    assert of_radius.get_xscale() == "log"
    found = marks(of_radius)
    assert [*found] == [*FACTORS]
    for arm, (mean, reach, color) in found.items():
        assert (mean, reach) == pytest.approx(mean_and_reach(averages(sweep, arm) - averages(sweep, "ERM")))
        assert color == arm_color(sweep.arms.index(arm))
    (zero, *_) = of_radius.lines
    assert list(zero.get_ydata()) == [0, 0]


def test_arms_without_a_baseline_are_drawn_by_their_accuracy_within_0_and_100_percent() -> None:
    sweep = replace(sweep_of({"a, radius 1": {RADIUS: 1}, "a, radius 2": {RADIUS: 2}}), baselines={})
    (axes,) = panels_of(sweep)
    assert axes.get_ylabel() == "accuracy (%)"
    for arm, (mean, reach, _) in marks(axes).items():
        expected, without_limits = mean_and_reach(averages(sweep, arm))
        assert mean == pytest.approx(expected)
        assert expected + without_limits > 100 or reach == pytest.approx(without_limits)
        assert mean + reach <= 100


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_trial_seeds_give_marks_without_intervals(seeds: int) -> None:
    sweep = sweep_of({"a, radius 1": {RADIUS: 1}, "a, radius 2": {RADIUS: 2}})
    first = tuple(run for run in sweep.records if run.cell.trial_seed < seeds)
    (axes,) = panels_of(replace(sweep, trial_seeds=tuple(range(seeds)), records=first))
    assert [reach for _, reach, _ in marks(axes).values()] == [0, 0]


def test_an_arm_without_a_selected_run_has_no_mark_and_nothing_selected_no_figure() -> None:
    sweep = sweep_of({"a, radius 1": {RADIUS: 1}, "a, radius 2": {RADIUS: 2}, "a, radius 3": {RADIUS: 3}})
    left = replace(sweep, records=tuple(run for run in sweep.records if run.cell.arm != "a, radius 2"))
    assert [*marks(panels_of(left)[0])] == ["a, radius 1", "a, radius 3"]
    for other in (replace(sweep, records=()), invented_sweep(troubled=False)):
        table = build_table(other)
        assert difference_against_factors(other, table, compare(other, table)) is None
