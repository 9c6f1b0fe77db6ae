"""Contrasts, against pandas from their definition, and what they say of all that is absent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import changed_run
from random_sweeps import trimmed
from scipy import stats
from selection_records import run, view

from gga_sweep.errors import InputError
from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.selection import METHODS, SweepView, build_table
from gga_sweep.selection.contrasts import Contrast, matched_contrasts, selected_contrasts

ARMS = ("ERM", "GGA", "anti")
DOMAINS = (("art",), ("sketch",))
SEEDS = (0, 1, 2)
DRAWS = (0, 1)
BASELINES = {"GGA": "ERM", "anti": "ERM"}
ACCURACIES = st.integers(0, 240).map(lambda right: right / 240)


def sweep_of(runs: Sequence[RunRecords], arms: tuple[str, ...] = ARMS) -> SweepView:
    return view(runs, arms=arms, test_domains=DOMAINS, trial_seeds=SEEDS, draws=dict.fromkeys(arms, DRAWS))


@st.composite
def whole_sweeps(draw: st.DrawFn) -> list[RunRecords]:
    """Every run of three arms, two test domains, three trial seeds and two draws, each with two evaluations."""
    return [
        run(
            draw(st.lists(ACCURACIES, min_size=2, max_size=2)),
            draw(st.lists(ACCURACIES, min_size=2, max_size=2)),
            arm=arm,
            test_domains=domains,
            trial_seed=seed,
            draws=(number,),
        )
        for arm in ARMS
        for domains in DOMAINS
        for seed in SEEDS
        for number in DRAWS
    ]


def frame_of(runs: Sequence[RunRecords]) -> pd.DataFrame:
    """A line a run: at its best validation step (of equal ones the first), its validation and its test accuracy."""
    lines = []
    for one in runs:
        best = max(one.records, key=lambda record: (record.validation.accuracy, -record.step))
        (domain,) = one.cell.test_domains
        lines.append(
            {
                "arm": one.cell.arm,
                "domain": domain,
                "seed": one.cell.trial_seed,
                "draw": one.draws[0],
                "val": best.validation.accuracy,
                "test": best.test.domains[domain].train.accuracy,
            }
        )
    return pd.DataFrame(lines)


def assert_contrast(found: Contrast, accuracy: pd.DataFrame, names: list[str]) -> None:
    """`found` is the mean over seeds of what pairs with equal `names` differ by."""
    ours, theirs = (accuracy[accuracy["arm"] == arm] for arm in (found.arm, found.baseline))
    pairs = ours.merge(theirs, on=names)
    by_seed = (pairs["test_x"] - pairs["test_y"]).groupby(pairs["seed"]).mean().sort_index()
    assert found.difference.values == pytest.approx(tuple(by_seed))
    assert found.difference.mean == pytest.approx(by_seed.mean())
    assert found.difference.standard_error == pytest.approx(stats.sem(by_seed), abs=1e-12)
    assert (found.pairs, found.missing, found.incomplete) == (len(pairs), (), False)


@given(whole_sweeps())
@settings(max_examples=40, deadline=None)
def test_selected_contrasts_agree_with_the_reference(runs: list[RunRecords]) -> None:
    frame = frame_of(runs).sort_values(["val", "draw"])
    selected = frame.groupby(["arm", "domain", "seed"], as_index=False).last()
    found = selected_contrasts(build_table(sweep_of(runs)), BASELINES)
    assert [contrast.arm for contrast in found] == ["GGA", "anti"]
    for contrast in found:
        assert contrast.estimand == "selected"
        assert_contrast(contrast, selected, ["domain", "seed"])


@given(whole_sweeps())
@settings(max_examples=40, deadline=None)
def test_matched_contrasts_agree_with_the_reference(runs: list[RunRecords]) -> None:
    found = matched_contrasts(sweep_of(runs), BASELINES)
    assert [contrast.arm for contrast in found] == ["GGA", "anti"]
    for contrast in found:
        assert contrast.estimand == "matched"
        assert_contrast(contrast, frame_of(runs), ["domain", "seed", "draw"])


def both(sweep: SweepView, baselines: Mapping[str, str] = BASELINES) -> tuple[Contrast, ...]:
    return (*selected_contrasts(build_table(sweep), baselines), *matched_contrasts(sweep, baselines))


@given(whole_sweeps())
@settings(max_examples=25, deadline=None)
def test_an_arm_against_one_like_it_differs_by_nothing(runs: list[RunRecords]) -> None:
    alike = [changed_run(one, cell=replace(one.cell, arm="GGA")) for one in runs if one.cell.arm == "ERM"]
    erm = [one for one in runs if one.cell.arm == "ERM"]
    for contrast in both(sweep_of([*erm, *alike], ("ERM", "GGA")), {"GGA": "ERM"}):
        assert contrast.difference.values == (0.0, 0.0, 0.0)
        assert math.isnan(contrast.difference.p)


def test_holm_adjusts_over_the_arms_of_one_estimand() -> None:
    accuracies = {"ERM": (0.5, 0.5, 0.5), "GGA": (0.6, 0.61, 0.62), "anti": (0.5, 0.4, 0.51)}
    runs = [run([0.5], [value], arm=arm, trial_seed=seed) for arm in ARMS for seed, value in enumerate(accuracies[arm])]
    gga, anti = selected_contrasts(build_table(view(runs, arms=ARMS)), BASELINES)
    assert gga.difference.p < anti.difference.p
    assert (gga.holm_p, anti.holm_p) == (pytest.approx(2 * gga.difference.p), anti.difference.p)


def pair_of_arms(**changes: object) -> list[RunRecords]:
    """ERM and GGA in three trial seeds and two draws; `changes` are of GGA's draw 1 in trial seed 2."""
    return [
        run([0.5], [0.5 + 0.1 * seed + 0.05 * number * (arm == "GGA")], arm=arm, trial_seed=seed, draws=(number,))
        if (arm, seed, number) != ("GGA", 2, 1)
        else run(**{"validation": [0.5], "test": [0.75], "arm": arm, "trial_seed": 2, "draws": (1,), **changes})
        for arm in ("ERM", "GGA")
        for seed in SEEDS
        for number in DRAWS
    ]


def of_two_arms(runs: Sequence[RunRecords], draws: Mapping[str, tuple[int, ...]] | None = None) -> SweepView:
    return view(runs, arms=("ERM", "GGA"), draws=draws or dict.fromkeys(("ERM", "GGA"), DRAWS))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": RunStatus.FAILED}, "failed"),
        ({"status": RunStatus.OUT_OF_MEMORY}, "out of memory"),
        ({"status": RunStatus.RUNNING}, "running"),
        ({"validation": [math.nan]}, "done without a finite validation accuracy"),
        ({"validation": [math.inf], "status": RunStatus.DIVERGED}, "diverged without a finite validation accuracy"),
        ({"test": [math.nan]}, "without a test accuracy"),
    ],
)
def test_a_matched_pair_without_a_side_is_named_and_its_trial_seed_left_out(
    changes: dict[str, object], why: str
) -> None:
    (contrast,) = matched_contrasts(of_two_arms(pair_of_arms(**changes)), {"GGA": "ERM"})
    (missing,) = contrast.missing
    assert (missing.test_domains, missing.trial_seed, missing.draw) == (("sketch",), 2, 1)
    assert missing.lacking == {"GGA": why}
    assert contrast.difference.values == pytest.approx((0.025, 0.025, math.nan), nan_ok=True)
    assert (contrast.difference.n, contrast.pairs, contrast.incomplete) == (2, 4, True)


def test_a_planned_draw_that_no_run_stands_for_is_missing() -> None:
    runs = [one for one in pair_of_arms() if (one.cell.trial_seed, one.draws) != (0, (1,))]
    (contrast,) = matched_contrasts(of_two_arms(runs), {"GGA": "ERM"})
    assert [(pair.draw, dict(pair.lacking)) for pair in contrast.missing] == [(1, {"GGA": "missing", "ERM": "missing"})]


def test_a_diverged_run_stands_in_its_pair_unless_it_is_excluded() -> None:
    sweep = of_two_arms(pair_of_arms(status=RunStatus.DIVERGED))
    (contrast,) = matched_contrasts(sweep, {"GGA": "ERM"})
    assert contrast.missing == ()
    (without,) = matched_contrasts(sweep, {"GGA": "ERM"}, exclude_diverged=True)
    assert [dict(pair.lacking) for pair in without.missing] == [{"GGA": "diverged"}]


@given(whole_sweeps(), st.sampled_from([1, 10, 11]))
@settings(max_examples=40, deadline=None)
def test_evaluations_before_the_first_step_take_no_part(runs: list[RunRecords], first_step: int) -> None:
    later = sweep_of([trimmed(one, first_step) for one in runs])
    assert repr(matched_contrasts(sweep_of(runs), BASELINES, first_step=first_step)) == repr(
        matched_contrasts(later, BASELINES)
    )
    selected = build_table(replace(sweep_of(runs), after_windows=first_step), select_from="after-window")
    assert repr(selected_contrasts(selected, BASELINES)) == repr(selected_contrasts(build_table(later), BASELINES))


@given(whole_sweeps())
@settings(max_examples=15, deadline=None)
def test_selected_contrasts_are_those_of_the_table_whatever_its_method(runs: list[RunRecords]) -> None:
    for method in METHODS:
        table = build_table(sweep_of(runs), method)
        rows = {row.arm: row for row in table.rows}
        for contrast in selected_contrasts(table, BASELINES):
            ours, theirs = rows[contrast.arm].average.values, rows[contrast.baseline].average.values
            by_seed = [mine - other for mine, other in zip(ours, theirs, strict=True)]
            assert contrast.difference.values == pytest.approx(by_seed, nan_ok=True, abs=1e-12)


def test_draws_that_only_one_arm_has_make_no_pair() -> None:
    sweep = of_two_arms(
        [one for one in pair_of_arms() if (one.cell.arm, one.draws) != ("ERM", (1,))], {"ERM": (0,), "GGA": (0, 1)}
    )
    (contrast,) = matched_contrasts(sweep, {"GGA": "ERM"})
    assert (contrast.pairs, contrast.missing, contrast.difference.mean) == (3, (), 0.0)


def test_arms_without_a_common_draw_have_no_matched_difference() -> None:
    runs = [run([0.5], [0.6], arm=arm, draws=(draw,)) for arm, draw in (("ERM", 0), ("GGA", 7))]
    (contrast,) = matched_contrasts(of_two_arms(runs, {"ERM": (0,), "GGA": (7,)}), {"GGA": "ERM"})
    assert (contrast.pairs, contrast.missing, contrast.difference.n, contrast.incomplete) == (0, (), 0, True)
    assert math.isnan(contrast.difference.mean)


def test_a_run_of_several_draws_stands_in_the_pair_of_each() -> None:
    runs = [
        run([0.5], [0.5], arm="ERM", draws=(0, 1)),
        run([0.5], [0.6], arm="GGA", draws=(0,)),
        run([0.5], [0.8], arm="GGA", draws=(1,)),
    ]
    sweep = view(runs, arms=("ERM", "GGA"), trial_seeds=(0,), draws=dict.fromkeys(("ERM", "GGA"), DRAWS))
    (contrast,) = matched_contrasts(sweep, {"GGA": "ERM"})
    assert (contrast.pairs, contrast.difference.mean) == (2, pytest.approx(0.2))


def test_a_cell_without_a_selected_run_makes_a_missing_pair() -> None:
    runs = [run([0.5], [0.5], arm="ERM", trial_seed=seed) for seed in SEEDS]
    runs += [run([0.5], [0.6 + 0.01 * seed], arm="GGA", trial_seed=seed) for seed in SEEDS[:2]]
    (contrast,) = selected_contrasts(build_table(view(runs, arms=("ERM", "GGA"))), {"GGA": "ERM"})
    (missing,) = contrast.missing
    assert (missing.trial_seed, missing.draw, missing.lacking) == (2, None, {"GGA": "no selected accuracy"})
    assert contrast.difference.values == pytest.approx((0.1, 0.11, math.nan), nan_ok=True)
    assert (contrast.difference.n, contrast.pairs, contrast.incomplete) == (2, 2, True)


def test_a_selected_contrast_with_an_incomplete_cell_is_marked() -> None:
    sweep = of_two_arms(pair_of_arms(status=RunStatus.FAILED))
    for baselines in ({"GGA": "ERM"}, {"ERM": "GGA"}):
        (contrast,) = selected_contrasts(build_table(sweep), baselines)
        assert (contrast.difference.n, contrast.missing, contrast.incomplete) == (3, (), True)


def test_unknown_names_and_an_arm_that_is_its_own_baseline_are_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"must name arms of the sweep, got 'lost' \(allowed: ERM, GGA\)") as caught:
        matched_contrasts(of_two_arms([]), {"GGA": "lost", "ERM": "ERM"})
    assert "an arm cannot be its own baseline, got 'ERM'" in str(caught.value)
    with pytest.raises(InputError, match="'lost'"):
        selected_contrasts(build_table(of_two_arms([])), {"lost": "ERM"})
