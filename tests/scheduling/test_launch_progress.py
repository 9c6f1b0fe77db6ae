"""The progress of a launch: counts of runs, and the time left."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from small_launch import Clock, estimate_in_seconds, runs_by_key

from gga_sweep.records import RunStatus
from gga_sweep.scheduling.launch_progress import LaunchProgress
from gga_sweep.spec import PlannedRun

NAN = float("nan")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runs() -> Mapping[str, PlannedRun]:
    """Two of ERM, then two of ERM + GGA."""
    return runs_by_key()


def counts(progress: LaunchProgress) -> dict[str, int]:
    return {status.value: count for status, count in progress.counts.items() if count}


def test_every_run_is_counted_once_wherever_it_is(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    first, second, third, fourth = runs
    progress = LaunchProgress(runs, {first: RunStatus.DONE}, clock=clock)
    assert counts(progress) == {"DONE": 1, "QUEUED": 3}
    progress.started(second)
    progress.started(third)
    assert counts(progress) == {"DONE": 1, "RUNNING": 2, "QUEUED": 1}
    progress.ended_with(second, RunStatus.FAILED)
    progress.ended_with(third, RunStatus.DONE)
    progress.started(fourth)
    assert counts(progress) == {"DONE": 2, "FAILED": 1, "RUNNING": 1}


def test_a_run_that_begins_again_is_running_and_no_longer_ended(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    """As one that ran out of memory does, in the second wave."""
    key = next(iter(runs))
    progress = LaunchProgress(runs, {}, clock=clock)
    progress.started(key)
    progress.ended_with(key, RunStatus.OUT_OF_MEMORY)
    assert counts(progress) == {"OUT_OF_MEMORY": 1, "QUEUED": 3}
    progress.started(key)
    assert counts(progress) == {"RUNNING": 1, "QUEUED": 3}
    progress.ended_with(key, RunStatus.DONE)
    assert counts(progress) == {"DONE": 1, "QUEUED": 3}


def test_a_run_reported_twice_keeps_its_start(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    key = next(iter(runs))
    progress = LaunchProgress(runs, {}, clock=clock)
    progress.started(key)
    clock.now += 10
    progress.started(key)
    progress.reported(key, 3, 0.5)
    assert progress.training[key].since == 0


def test_the_step_is_the_last_reported_and_the_validation_the_best(
    runs: Mapping[str, PlannedRun], clock: Clock
) -> None:
    key = next(iter(runs))
    progress = LaunchProgress(runs, {}, clock=clock)
    for step, validation in enumerate([0.5, 0.8, 0.6]):
        progress.reported(key, step, validation)
    assert (progress.training[key].step, progress.training[key].best_validation) == (2, 0.8)


@pytest.mark.parametrize(
    ("told", "best"),
    [([NAN], NAN), ([NAN, 0.0], 0.0), ([0.4, NAN], 0.4), ([0.4, NAN, 0.3], 0.4), ([0.4, NAN, 0.5], 0.5)],
)
def test_nan_is_never_the_best_validation_once_there_is_another(
    runs: Mapping[str, PlannedRun], told: list[float], best: float
) -> None:
    key = next(iter(runs))
    progress = LaunchProgress(runs, {})
    for validation in told:
        progress.reported(key, 0, validation)
    found = progress.training[key].best_validation
    assert found == best or (math.isnan(found) and math.isnan(best))


def test_a_run_outside_the_plan_is_passed_over(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    progress = LaunchProgress(runs, {}, clock=clock)
    progress.started("of a user's own searcher")
    progress.reported("of a user's own searcher", 1, 0.9)
    progress.ended_with("of a user's own searcher", RunStatus.DONE)
    assert counts(progress) == {"QUEUED": 4}


def test_before_the_first_run_has_ended_the_time_left_is_not_known(
    runs: Mapping[str, PlannedRun], clock: Clock
) -> None:
    progress = LaunchProgress(runs, {}, clock=clock)
    progress.started(next(iter(runs)))
    clock.now += 100
    assert progress.seconds_left is None
    assert progress.elapsed == 100


def train(progress: LaunchProgress, clock: Clock, key: str, seconds: float) -> None:
    progress.started(key)
    clock.now += seconds
    progress.ended_with(key, RunStatus.DONE)


def test_the_time_left_is_the_estimate_times_what_done_runs_took_of_theirs(
    runs: Mapping[str, PlannedRun], clock: Clock
) -> None:
    erm, other_erm, gga, other_gga = runs
    expected = {erm: 1.0, other_erm: 2.0, gga: 10.0, other_gga: 5.0}
    progress = LaunchProgress(runs, {}, expected=expected, clock=clock)
    assert progress.seconds_left is None  # work, not seconds
    train(progress, clock, erm, 10)
    assert progress.seconds_left == 10 * (2 + 10 + 5)
    train(progress, clock, gga, 45)
    assert progress.seconds_left == 5 * (2 + 5)
    progress.started(other_gga)
    clock.now += 20
    assert progress.seconds_left == 5 * 2 + (25 - 20)
    clock.now += 100
    assert progress.seconds_left == 5 * 2  # it takes longer than expected
    progress.ended_with(other_erm, RunStatus.DIVERGED)
    progress.ended_with(other_gga, RunStatus.DIVERGED)
    assert progress.seconds_left == 0


def test_an_estimate_in_seconds_is_the_time_left_before_any_run_has_ended(
    runs: Mapping[str, PlannedRun], clock: Clock
) -> None:
    expected = dict(zip(runs, (40.0, 30.0, 20.0, 10.0), strict=True))
    progress = LaunchProgress(
        runs, {}, concurrent=2, estimate=estimate_in_seconds(runs), expected=expected, clock=clock
    )
    assert progress.seconds_left == 50
    progress.started(next(iter(runs)))
    clock.now += 40
    assert progress.seconds_left == 30


def test_runs_to_come_count_as_the_mean_until_they_are_known(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    first, second, *_ = runs
    progress = LaunchProgress(
        {first: runs[first]}, {}, estimate=estimate_in_seconds(runs), expected={first: 20.0}, unsuggested=2, clock=clock
    )
    assert progress.seconds_left == 20 + 2 * 20
    progress.add(runs[second])
    assert progress.seconds_left == pytest.approx(20 + 8 + 14)


def test_a_run_that_broke_off_says_nothing_of_the_time_that_others_take(
    runs: Mapping[str, PlannedRun], clock: Clock
) -> None:
    progress = LaunchProgress(runs, {}, clock=clock)
    key = next(iter(runs))
    progress.started(key)
    clock.now += 1
    progress.ended_with(key, RunStatus.FAILED)
    assert progress.seconds_left is None


def test_runs_at_once_shorten_the_time_left_to_that_of_the_longest(
    runs: Mapping[str, PlannedRun], clock: Clock
) -> None:
    progress = LaunchProgress(runs, {}, concurrent=2, clock=clock)
    train(progress, clock, next(iter(runs)), 10)
    assert progress.seconds_left == 15
    progress.concurrent = 100
    assert progress.seconds_left == 10


def test_what_was_final_before_takes_no_time(runs: Mapping[str, PlannedRun], clock: Clock) -> None:
    first, *others = runs
    progress = LaunchProgress(runs, dict.fromkeys(others, RunStatus.STOPPED), clock=clock)
    train(progress, clock, first, 10)
    assert progress.seconds_left == 0
