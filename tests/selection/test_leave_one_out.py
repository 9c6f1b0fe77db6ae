"""Leave-one-domain-out, by hand: which numbers count, and what a draw without its pairs comes to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from made_runs import changed_run
from random_sweeps import RandomSweep, random_sweep, renumbered, seeds
from selection_records import evaluation, run_of

from gga_sweep.records import Cell, RunRecords, RunStatus
from gga_sweep.selection import Selected, select
from gga_sweep.selection.methods.leave_one_out import best_step

METHOD = "leave-one-domain-out"
ART = Cell("PACS", "ERM", ("art",), 0)


def judged(draw: int = 0, steps: int = 2, validation: float = 0.5, **where: object) -> RunRecords:
    """A run tested on art, at steps 0, 10, ..., that is to be judged by its pairs."""
    records = [evaluation(10 * i, {"photo": validation, "sketch": validation}, {"art": 0.5}) for i in range(steps)]
    return run_of(records, test_domains=("art",), draws=(draw,), **where)


def pair(left_out: str, accuracies: Sequence[float], draw: int = 0, **where: object) -> RunRecords:
    """The run tested on art and one more domain, with its accuracy on that at steps 0, 10, ..."""
    (other,) = {"photo", "sketch"} - {left_out}
    records = [evaluation(10 * i, {other: 0.5}, {"art": 0.5, left_out: value}) for i, value in enumerate(accuracies)]
    return run_of(records, test_domains=("art", left_out), draws=(draw,), **where)


def pick(runs: Sequence[RunRecords], pairs: Sequence[RunRecords], **switches: object) -> Selected | None:
    """What is selected for art."""
    return next(iter(select(runs, METHOD, pair_records=pairs, **switches)), None)


def test_a_step_counts_by_the_mean_over_the_training_domains_left_out() -> None:
    found = pick([judged()], [pair("photo", [0.75, 0.25]), pair("sketch", [0.25, 1.0])])
    assert found is not None
    assert (found.step, found.validation_accuracy, found.tied_steps) == (10, 0.625, 0)


def test_draws_are_compared_by_their_own_pairs_and_not_by_their_validation_accuracy() -> None:
    pairs = [pair(name, [0.5 + 0.25 * (draw == 1)], draw) for name in ("photo", "sketch") for draw in range(3)]
    found = pick([judged(draw, validation=1.0 - 0.25 * draw) for draw in range(3)], pairs)
    assert found is not None
    assert (found.draw, found.tied_draws) == (1, 0)


def test_ties_go_to_the_lowest_step_and_the_highest_draw() -> None:
    pairs = [pair(name, [0.5, 0.5], draw) for name in ("photo", "sketch") for draw in range(3)]
    found = pick([judged(draw) for draw in (1, 2, 0)], pairs)
    assert found is not None
    assert (found.draw, found.step, found.tied_steps, found.tied_draws) == (2, 0, 1, 2)


def test_the_two_test_domains_of_a_pair_may_stand_in_either_order() -> None:
    photo = pair("photo", [0.75])
    turned = changed_run(photo, cell=replace(photo.cell, test_domains=("photo", "art")))
    assert pick([judged()], [turned, pair("sketch", [0.25])]) == pick([judged()], [photo, pair("sketch", [0.25])])
    assert pick([judged()], [turned, pair("sketch", [0.25])]) is not None


def test_a_pair_that_is_a_column_of_the_table_validates_too() -> None:
    photo, sketch = pair("photo", [0.75]), pair("sketch", [0.25])
    assert [one.cell for one in select([judged(), photo], METHOD, pair_records=[sketch])] == [ART]


def test_two_test_domains_at_once_cannot_be_cross_validated() -> None:
    assert select([pair("photo", [0.75])], METHOD, pair_records=[pair("sketch", [0.5])]) == ()


@pytest.mark.parametrize("lacking", ["photo", "sketch"])
def test_a_draw_without_a_pair_run_cannot_be_selected(lacking: str) -> None:
    pairs = [pair(name, [1.0], draw) for name in ("photo", "sketch") for draw in (0, 1)]
    found = pick([judged(0), judged(1)], [one for one in pairs if (one.draws, lacking in one.key) != ((1,), True)])
    assert found is not None
    assert found.draw == 0


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"arm": "GGA"},
        {"trial_seed": 1},
        {"draw": 1},
        {"status": RunStatus.FAILED},
        {"status": RunStatus.RUNNING},
    ],
)
def test_only_a_final_run_of_the_same_arm_draw_and_trial_seed_is_a_pair_run(elsewhere: Mapping[str, object]) -> None:
    assert pick([judged()], [pair("photo", [0.5]), pair("sketch", [0.5])]) is not None
    assert pick([judged()], [pair("photo", [0.5]), pair("sketch", [0.5], **elsewhere)]) is None


def test_a_pair_run_of_another_dataset_is_none() -> None:
    pairs = [pair("photo", [0.5]), pair("sketch", [0.5])]
    moved = [changed_run(one, cell=replace(one.cell, dataset="OfficeHome")) for one in pairs]
    assert pick([judged()], [pairs[0], moved[1]]) is None
    assert pick([judged()], [*pairs, *moved]) == pick([judged()], [*moved, *pairs]) == pick([judged()], pairs)


def test_a_run_of_several_draws_is_judged_by_the_pair_run_of_the_highest() -> None:
    merged = changed_run(judged(), draws=(0, 2))
    pairs = [pair("photo", [0.25, 0.5], 2), pair("sketch", [0.25, 0.5], 2)]
    others = [pair("photo", [1.0, 0.0], 0), pair("sketch", [1.0, 0.0], 0)]
    found = pick([merged], [*others, *pairs])
    assert found is not None
    assert (found.draw, found.step, found.validation_accuracy) == (2, 10, 0.5)
    assert pick([merged], others) is None


def test_a_pair_run_of_several_draws_validates_each_of_them() -> None:
    pairs = [changed_run(pair(name, [0.5]), draws=(0, 2)) for name in ("photo", "sketch")]
    assert [pick([judged(draw)], pairs) is not None for draw in (0, 1, 2)] == [True, False, True]


def test_a_step_that_a_pair_run_lacks_takes_no_part() -> None:
    diverged = pair("sketch", [0.25], status=RunStatus.DIVERGED)
    found = pick([judged()], [pair("photo", [0.25, 1.0]), diverged])
    assert found is not None
    assert (found.step, found.validation_accuracy) == (0, 0.25)


def test_a_step_that_the_run_itself_lacks_takes_no_part() -> None:
    found = pick([judged(steps=1)], [pair("photo", [0.25, 1.0]), pair("sketch", [0.25, 1.0])])
    assert found is not None
    assert (found.step, found.tied_steps) == (0, 0)


def test_diverged_pair_runs_validate_unless_they_are_excluded() -> None:
    pairs = [pair("photo", [0.5]), pair("sketch", [0.5], status=RunStatus.DIVERGED)]
    assert pick([judged()], pairs) is not None
    assert pick([judged()], pairs, exclude_diverged=True) is None


def test_first_step_trims_the_pair_runs_too() -> None:
    found = pick([judged()], [pair("photo", [1.0, 0.25]), pair("sketch", [1.0, 0.25])], first_step=5)
    assert found is not None
    assert (found.step, found.validation_accuracy) == (10, 0.25)


@pytest.mark.parametrize("absent", [math.nan, math.inf])
def test_an_accuracy_that_is_not_finite_strikes_out_its_step(absent: float) -> None:
    found = pick([judged()], [pair("photo", [absent, 0.25]), pair("sketch", [1.0, 0.25])])
    assert found is not None
    assert found.step == 10
    assert pick([judged()], [pair("photo", [absent, absent]), pair("sketch", [1.0, 0.25])]) is None


def test_a_pair_run_without_its_test_domain_in_a_record_lacks_that_step() -> None:
    photo = pair("photo", [1.0, 0.25])
    blind = evaluation(0, {"sketch": 0.5}, {"art": 0.5})
    found = pick([judged()], [changed_run(photo, records=(blind, photo.records[1])), pair("sketch", [1.0, 0.25])])
    assert found is not None
    assert found.step == 10


def test_a_run_that_was_never_evaluated_cannot_be_selected() -> None:
    assert pick([judged(steps=0)], [pair("photo", [0.5]), pair("sketch", [0.5])]) is None


def test_nothing_is_chosen_where_no_training_domain_was_left_out() -> None:
    assert best_step(steps=(0, 10), left_out=()) is None
    assert best_step(steps=(0,), left_out=({},)) is None


def of_domain(name: str, sweep: RandomSweep) -> tuple[Selected, ...]:
    chosen = select(sweep.records, METHOD, pair_records=sweep.pair_records, cells=sweep.cells)
    return tuple(one for one in chosen if one.cell.test_domains == (name,))


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_no_number_on_a_test_domain_moves_its_own_selection(seed: int) -> None:
    sweep = random_sweep(seed)
    noise = Random(seed)
    for tested in sweep.domains:
        changed = sweep.with_runs(partial(renumbered, names=[tested], number=noise.random))
        assert of_domain(tested, changed) == of_domain(tested, sweep)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_nor_does_any_number_on_a_domain_that_was_trained_on(seed: int) -> None:
    sweep = random_sweep(seed)
    noise = Random(seed)

    def without_validation(run: RunRecords) -> RunRecords:
        trained = set(sweep.domains) - set(run.cell.test_domains)
        return renumbered(run, trained, noise.random)

    assert [of_domain(name, sweep.with_runs(without_validation)) for name in sweep.domains] == [
        of_domain(name, sweep) for name in sweep.domains
    ]


def test_the_pairs_accuracy_on_the_domain_left_out_does() -> None:
    runs = [judged(0), judged(1)]
    pairs = [pair(name, [0.5 + 0.125 * draw], draw) for name in ("photo", "sketch") for draw in (0, 1)]
    found = pick(runs, pairs)
    better = [renumbered(one, ["photo"], lambda: 1.0) if one.draws == (0,) else one for one in pairs]
    moved = pick(runs, better)
    assert found is not None
    assert moved is not None
    assert (found.draw, moved.draw) == (1, 0)
    assert moved.validation_accuracy == 0.75
