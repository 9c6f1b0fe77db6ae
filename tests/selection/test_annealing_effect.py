"""What annealing did, against numpy, and where the selected steps lie."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from selection_records import run, searched_step, view

from gga_sweep.records import NoisyStep, RunRecords, RunStatus
from gga_sweep.selection import AlignmentAndScore, SelectedSteps, SweepView, build_table
from gga_sweep.selection.annealing_effect import alignment_and_score, annealing_diagnostics, selected_steps
from gga_sweep.selection.contrasts import selected_contrasts

ARMS = ("ERM", "GGA")
GAINS = ("gain_under_search", "gain_under_fresh_masks", "gain_on_next_minibatches")


def of_two_arms(runs: list[RunRecords]) -> SweepView:
    return view(runs, arms=ARMS, draws=dict.fromkeys(ARMS, (0, 1)))


def test_gains_are_averaged_over_steps_then_runs_then_trial_seeds() -> None:
    rng = np.random.default_rng(0)
    gains = rng.normal(0, 0.1, (3, 2, 4, 3))  # trial seed, draw, step, kind of gain
    lengths = {0: 4, 1: 2}  # a run that ended early counts as much as one that did not
    runs = [
        run(
            arm="GGA",
            trial_seed=seed,
            draws=(draw,),
            annealed=[searched_step(step, gains=tuple(gains[seed, draw, step])) for step in range(lengths[draw])],
        )
        for seed in range(3)
        for draw in range(2)
    ]
    (found,) = annealing_diagnostics(of_two_arms(runs))
    by_seed = np.array([[gains[s, d, : lengths[d]].mean(axis=0) for d in range(2)] for s in range(3)]).mean(axis=1)
    assert (found.arm, found.runs, found.steps, dict(found.noise)) == ("GGA", 6, 18, {})
    for kind, name in enumerate(GAINS):
        mean = found.searches[name].mean
        assert mean.values == pytest.approx(tuple(by_seed[:, kind]))
        assert mean.mean == pytest.approx(by_seed[:, kind].mean())
        assert mean.standard_error == pytest.approx(by_seed[:, kind].std(ddof=1) / math.sqrt(3))


def test_acceptance_moves_and_distances_are_means_over_steps() -> None:
    steps = [
        searched_step(0, tried=4, accepted=2, distances=(0.5, 2.0)),
        searched_step(1, tried=8, accepted=2, distances=(0.7, 4.0)),
        searched_step(2, tried=4, accepted=0, moved=False, distances=(0.0, 0.0)),
    ]
    (found,) = annealing_diagnostics(of_two_arms([run(arm="GGA", annealed=steps)]))
    means = {name: one.mean.mean for name, one in found.searches.items()}
    assert means["acceptance_rate"] == pytest.approx((1 / 2 + 1 / 4 + 0) / 3)
    assert means["share_moved"] == pytest.approx(2 / 3)
    assert means["distance_in_radii"] == pytest.approx(0.4)
    assert means["distance_in_updates"] == pytest.approx(2.0)


def test_steps_where_a_quantity_is_undefined_are_counted_and_left_out() -> None:
    steps = [searched_step(0, gains=(math.nan, 0.2, 0.1), tried=0, accepted=0), searched_step(1, gains=(0.3, 0.4, 0.1))]
    lost = [searched_step(0, gains=(math.nan, 0.0, 0.0))]
    runs = [run(arm="GGA", annealed=steps), run(arm="GGA", draws=(1,), annealed=lost)]
    (found,) = annealing_diagnostics(of_two_arms(runs))
    under_search, fresh = found.searches["gain_under_search"], found.searches["gain_under_fresh_masks"]
    assert (under_search.mean.mean, under_search.left_out) == (pytest.approx(0.3), 2)
    assert (fresh.mean.mean, fresh.left_out) == (pytest.approx(0.15), 0)
    assert (found.searches["acceptance_rate"].mean.mean, found.searches["acceptance_rate"].left_out) == (0.25, 1)


def test_noise_is_summarised_beside_the_gradient_it_was_added_to() -> None:
    steps = [
        NoisyStep(0, 0.5, 1e-3, 3.0, 2.0),
        NoisyStep(1, math.nan, 3e-3, 1.0, 2.0),
        NoisyStep(2, 0.1, 2e-3, 1.0, 0.0),
    ]
    (found,) = annealing_diagnostics(of_two_arms([run(arm="GGA", annealed=steps)]))
    assert dict(found.searches) == {}
    numbers = {name: (pytest.approx(one.mean.mean), one.left_out) for name, one in found.noise.items()}
    assert numbers == {"mean_cosine": (0.3, 1), "alpha": (2e-3, 0), "noise_over_gradient": (1.0, 1)}


def test_only_final_runs_that_annealed_are_summarised() -> None:
    runs = [
        run(arm="ERM"),
        run(arm="GGA", status=RunStatus.FAILED, annealed=[searched_step(gains=(9, 9, 9))]),
        run(arm="GGA", draws=(1,), annealed=[searched_step(gains=(0.1, 0.1, 0.1))]),
    ]
    (found,) = annealing_diagnostics(of_two_arms(runs))
    assert (found.arm, found.runs, found.searches["gain_under_search"].mean.mean) == ("GGA", 1, pytest.approx(0.1))
    assert annealing_diagnostics(of_two_arms(runs[:2])) == ()


def test_selected_steps_lie_before_inside_or_after_the_window_of_their_own_run() -> None:
    window = [searched_step(step) for step in range(10, 21)]
    late = [searched_step(step) for step in range(15, 26)]
    accuracies = {0: [0.9, 0.1, 0.1, 0.1], 1: [0.1, 0.9, 0.1, 0.1], 2: [0.1, 0.1, 0.9, 0.1], 3: [0.1, 0.1, 0.1, 0.9]}
    runs = [run(accuracies[seed], arm="GGA", trial_seed=seed, annealed=window) for seed in accuracies]
    runs.append(run(accuracies[1], arm="GGA", trial_seed=4, annealed=late))
    runs.append(run([0.9], arm="GGA", trial_seed=5, status=RunStatus.STOPPED))  # it ended before its window
    runs += [run(arm="ERM", trial_seed=seed) for seed in range(6)]
    sweep = view(runs, arms=ARMS, trial_seeds=tuple(range(6)))
    (found,) = selected_steps(sweep, build_table(sweep))
    assert found == SelectedSteps("GGA", before=3, inside=2, after=1)
    assert found.total == 6


def test_gga_l_has_no_window_to_lie_in() -> None:
    sweep = of_two_arms([run(arm="GGA", annealed=[NoisyStep(0, 0.5, 1e-3, 3.0, 2.0)])])
    assert selected_steps(sweep, build_table(sweep)) == ()


def gains_of(runs: list[RunRecords]) -> tuple[AlignmentAndScore, ...]:
    sweep = of_two_arms(runs)
    table = build_table(sweep)
    return alignment_and_score(sweep, table, selected_contrasts(table, {"GGA": "ERM"}))


def test_alignment_gained_by_the_selected_runs_stands_beside_their_accuracy() -> None:
    alignment, accuracy = (0.1, 0.4, 0.2), (0.02, 0.03, 0.05)
    runs = [run(arm="ERM", trial_seed=seed) for seed in range(3)]
    for seed in range(3):
        steps = [searched_step(step, gains=(9, alignment[seed] + sign * 0.05, 9)) for step, sign in ((0, -1), (1, 1))]
        runs.append(run([0.5], [0.25 + accuracy[seed]], arm="GGA", trial_seed=seed, annealed=steps))
        worse = [searched_step(gains=(0, -1, 0))]
        runs.append(run([0.4], [0.9], arm="GGA", trial_seed=seed, draws=(1,), annealed=worse))
    (found,) = gains_of(runs)
    assert (found.arm, found.baseline, found.trial_seeds) == ("GGA", "ERM", (0, 1, 2))
    assert found.alignment_gained == pytest.approx(alignment)
    assert found.score_gained == pytest.approx(accuracy)
    assert found.correlation == pytest.approx(np.corrcoef(alignment, accuracy)[0, 1])


def test_a_trial_seed_that_lacks_either_number_is_no_point() -> None:
    runs = [run(arm="ERM", trial_seed=seed) for seed in (0, 1)]
    runs += [run(arm="GGA", trial_seed=seed, annealed=[searched_step(gains=(0, 0.1, 0))]) for seed in (0, 2)]
    runs.append(run(arm="GGA", trial_seed=1))
    (found,) = gains_of(runs)
    assert [seed for seed, _, _ in found.points] == [0]
    assert math.isnan(found.correlation)


def test_gains_that_do_not_vary_have_no_correlation() -> None:
    assert math.isnan(AlignmentAndScore("GGA", "ERM", (0, 1, 2), (0.1, 0.1, 0.1), (0.1, 0.2, 0.3)).correlation)


def test_an_arm_that_does_not_search_has_no_alignment_to_show() -> None:
    assert gains_of([run(arm=arm) for arm in ARMS]) == ()


def test_gains_are_means_over_the_steps_that_were_diagnosed() -> None:
    undiagnosed = {f"{kind}_alignment_{end}": None for kind in ("fresh", "next") for end in ("before", "after")}
    diagnosed = [searched_step(0, gains=(0.1, 0.2, 0.3)), searched_step(2, gains=(0.5, math.nan, 0.1))]
    steps = [diagnosed[0], replace(searched_step(1, gains=(0.3, 0.0, 0.0)), **undiagnosed), diagnosed[1]]
    (found,) = annealing_diagnostics(of_two_arms([run(arm="GGA", annealed=steps)]))
    counted = {name: (found.searches[name].measured, found.searches[name].left_out) for name in GAINS}
    assert counted == dict(zip(GAINS, ((3, 0), (2, 1), (2, 0)), strict=True))
    means = [found.searches[name].mean.mean for name in GAINS]
    assert means == pytest.approx([0.3, 0.2, 0.2])
    assert found.steps == 3


def test_an_arm_that_was_never_diagnosed_has_no_gain_and_no_point() -> None:
    undiagnosed = {f"{kind}_alignment_{end}": None for kind in ("fresh", "next") for end in ("before", "after")}
    steps = [replace(searched_step(step), **undiagnosed) for step in range(2)]
    sweep = of_two_arms([run(arm="ERM"), run(arm="GGA", annealed=steps)])
    (found,) = annealing_diagnostics(sweep)
    assert [found.searches[name].measured for name in GAINS] == [2, 0, 0]
    assert math.isnan(found.searches["gain_under_fresh_masks"].mean.mean)
    assert found.searches["gain_under_fresh_masks"].left_out == 0
