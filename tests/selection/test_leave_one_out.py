"""Leave-one-domain-out, by hand: which numbers count, and what a draw without its pairs comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random

import pytest
from hypothesis import given, settings
from made_runs import changed_run
from random_sweeps import RandomSweep, random_sweep, renumbered, seeds
from selection_records import evaluation, run_of

from gga_sweep.errors import InputError
from gga_sweep.records import Cell, RunRecords
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
    assert (found.step, found.score, found.tied_steps) == (10, 0.625, 0)


def test_the_two_test_domains_of_a_pair_may_stand_in_either_order() -> None:
    photo = pair("photo", [0.75])
    turned = changed_run(photo, cell=replace(photo.cell, test_domains=("photo", "art")))
    assert pick([judged()], [turned, pair("sketch", [0.25])]) == pick([judged()], [photo, pair("sketch", [0.25])])
    assert pick([judged()], [turned, pair("sketch", [0.25])]) is not None


def test_a_pair_run_of_another_dataset_is_none() -> None:
    pairs = [pair("photo", [0.5]), pair("sketch", [0.5])]
    moved = [changed_run(one, cell=replace(one.cell, dataset="OfficeHome")) for one in pairs]
    assert pick([judged()], [pairs[0], moved[1]]) is None
    assert pick([judged()], [*pairs, *moved]) == pick([judged()], [*moved, *pairs]) == pick([judged()], pairs)


def test_a_pair_run_without_its_test_domain_in_a_record_is_refused() -> None:
    photo = pair("photo", [1.0, 0.25])
    blind = evaluation(0, {"sketch": 0.5}, {"art": 0.5})
    pairs = [changed_run(photo, records=(blind, photo.records[1])), pair("sketch", [1.0, 0.25])]
    with pytest.raises(InputError, match=r"scores on photo at every evaluation .*, step 0 lacks it"):
        pick([judged()], pairs)


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
    assert moved.score == 0.75
