"""Device-seconds, by hand."""

from __future__ import annotations

import math

import pytest
from made_runs import changed_run
from selection_records import run, view

from gga_sweep.errors import InputError
from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.selection import Cost
from gga_sweep.selection.cost import costs

ARMS = ("ERM", "GGA")
PLAIN = {"training": 10.0, "evaluation": 2.0}
ANNEALED = {"training": 10.0, "search": 6.0, "diagnostics": 4.0, "evaluation": 2.0}


def costs_of(runs: list[RunRecords]) -> tuple[Cost, ...]:
    return costs(view(runs, arms=ARMS, draws=dict.fromkeys(ARMS, (0, 1))), {"GGA": "ERM"})


def test_seconds_are_summed_by_phase_and_compared_with_the_baseline() -> None:
    erm, gga = costs_of([run(arm="ERM", seconds=PLAIN), run(arm="GGA", seconds=ANNEALED)])
    assert dict(erm.seconds) == {"training": 10, "search": 0, "diagnostics": 0, "evaluation": 2}
    assert dict(gga.seconds) == ANNEALED
    assert (erm.total, gga.total, gga.a_run) == (12, 22, 22)
    assert (gga.baseline, gga.ratio, gga.ratio_without_diagnostics) == ("ERM", pytest.approx(22 / 12), 1.5)


def test_a_baseline_has_no_ratio() -> None:
    erm, _ = costs_of([run(arm="ERM", seconds=PLAIN)])
    assert erm.baseline is None
    assert math.isnan(erm.ratio)
    assert math.isnan(erm.ratio_without_diagnostics)


def test_the_total_is_of_all_runs_and_what_is_compared_of_the_done_ones() -> None:
    runs = [
        run(arm="ERM", seconds=PLAIN),
        run(arm="GGA", seconds={"training": 20.0}),
        run(arm="GGA", seconds={"training": 40.0}, trial_seed=1),
        run(arm="GGA", seconds={"training": 1.0}, draws=(1,), status=RunStatus.FAILED),
    ]
    _, gga = costs_of(runs)
    assert (gga.runs, gga.total, gga.done, gga.a_run) == (3, 61, 2, 30)
    assert gga.ratio == pytest.approx(30 / 12)


def test_a_run_without_a_timing_does_not_count_as_free() -> None:
    _, gga = costs_of([run(arm="ERM", seconds=PLAIN), run(arm="GGA", seconds=ANNEALED), run(arm="GGA", trial_seed=1)])
    assert (gga.runs, gga.done, gga.a_run) == (1, 1, 22)


def test_what_was_inherited_counts_in_each_run_and_is_told() -> None:
    runs = [changed_run(run(arm="ERM", seconds=PLAIN), inherited_seconds=5.0), run(arm="GGA", seconds=ANNEALED)]
    erm, gga = costs_of(runs)
    assert (erm.total, erm.inherited, gga.inherited) == (12, 5, 0)
    assert gga.ratio == pytest.approx(22 / 12)


def test_pair_runs_count_in_the_total_and_not_in_what_a_run_costs() -> None:
    pairs = [run(arm="GGA", test_domains=("art", "sketch"), seconds={"training": 500.0}, draws=(0,))]
    pairs += [changed_run(pairs[0], key="failed", draws=(1,), status=RunStatus.FAILED, seconds={"search": 30.0})]
    sweep = view(
        [run(arm=arm, seconds=PLAIN) for arm in ARMS], arms=ARMS, pairs=(("art", "sketch"),), pair_records=pairs
    )
    erm, gga = costs(sweep, {"GGA": "ERM"})
    assert dict(gga.seconds) == {"training": 510, "search": 30, "diagnostics": 0, "evaluation": 2}
    assert (gga.runs, gga.total, gga.done, gga.a_run, gga.ratio) == (3, 542, 1, 12, 1)
    assert (erm.runs, erm.total) == (1, 12)


def test_pairs_that_are_columns_of_the_table_cost_like_any_run() -> None:
    runs = [run(seconds=PLAIN), run(test_domains=("art", "sketch"), seconds={"training": 20.0})]
    (erm,) = costs(view(runs, test_domains=(("sketch",), ("art", "sketch"))), {})
    assert (erm.runs, erm.done, erm.a_run) == (2, 2, 16)


def test_where_no_run_is_done_nothing_is_compared() -> None:
    erm, gga = costs_of([run(arm="ERM", seconds=PLAIN, status=RunStatus.RUNNING), run(arm="GGA", seconds=ANNEALED)])
    assert (erm.total, erm.done) == (12, 0)
    assert math.isnan(erm.a_run)
    assert math.isnan(gga.ratio)


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(InputError, match="must name arms of the sweep, got 'lost'"):
        costs(view([]), {"ERM": "lost"})
