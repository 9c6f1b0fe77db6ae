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
from gga_sweep.report.plots.factors import FactorPanel, accuracy_against_factors, factor_panels
from gga_sweep.selection import SweepView, build_table

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


def means_and_reaches(axes: Axes) -> dict[str, np.ndarray]:
    """By the label of each curve: (mean, reach of the interval) of each value."""
    found = {}
    for container in axes.containers:
        line, _, (bars,) = container.lines
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        found[container.get_label()] = np.stack([line.get_ydata(), (ends[:, 1] - ends[:, 0]) / 2], axis=1)
    return found


def mean_and_reach(sweep: SweepView, arm: str) -> tuple[float, float]:
    """In percent: of the table's averages, with the t interval over trial seeds."""
    values = 100 * np.array(next(row for row in build_table(sweep).rows if row.arm == arm).average.values)
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean(), reach


def test_marks_are_the_averages_of_the_selected_runs_with_their_t_interval() -> None:
    sweep = sweep_of(FACTORS)
    figure = drawn(accuracy_against_factors(sweep, build_table(sweep)))
    of_radius, _ = figure.axes
    assert of_radius.get_xlabel() == RADIUS
    assert of_radius.get_xscale() == "log"
    marked = means_and_reaches(of_radius)
    names = list(FACTORS)
    assert marked["num steps 5"] == pytest.approx(np.array([mean_and_reach(sweep, arm) for arm in names[:2]]))
    assert marked["num steps 20"] == pytest.approx(np.array([mean_and_reach(sweep, arm) for arm in names[2:]]))


def test_the_baseline_is_a_line_with_its_interval_as_band() -> None:
    sweep = sweep_of({"a, radius 1": {RADIUS: 1}, "a, radius 2": {RADIUS: 2}})
    figure = drawn(accuracy_against_factors(sweep, build_table(sweep)))
    (axes,) = figure.axes
    mean, reach = mean_and_reach(sweep, "ERM")
    (line,) = [line for line in axes.lines if line.get_label() == "ERM (baseline)"]
    assert np.asarray(line.get_ydata()) == pytest.approx([mean, mean])
    (band,) = axes.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((mean - reach, mean + reach))


def test_one_trial_seed_gives_marks_without_intervals() -> None:
    sweep = sweep_of({"a, radius 1": {RADIUS: 1}, "a, radius 2": {RADIUS: 2}})
    first = tuple(run for run in sweep.records if run.cell.trial_seed == 0)
    sweep = replace(sweep, trial_seeds=(0,), records=first)
    figure = drawn(accuracy_against_factors(sweep, build_table(sweep)))
    (axes,) = figure.axes
    assert means_and_reaches(axes)["a"][:, 1] == pytest.approx([0, 0])
    assert len(axes.patches) == 0


def test_an_arm_without_a_selected_run_has_no_mark_and_nothing_selected_no_figure() -> None:
    sweep = sweep_of({"a, radius 1": {RADIUS: 1}, "a, radius 2": {RADIUS: 2}, "a, radius 3": {RADIUS: 3}})
    left = replace(sweep, records=tuple(run for run in sweep.records if run.cell.arm != "a, radius 2"))
    figure = drawn(accuracy_against_factors(left, build_table(left)))
    assert len(means_and_reaches(figure.axes[0])["a"]) == 2
    empty = replace(sweep, records=())
    assert accuracy_against_factors(empty, build_table(empty)) is None
    plain = invented_sweep(troubled=False)
    assert accuracy_against_factors(plain, build_table(plain)) is None
