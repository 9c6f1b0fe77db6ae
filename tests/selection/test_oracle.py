"""The oracle: the last step, the test domains' validation splits, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from made_runs import changed_run
from random_sweeps import random_sweep, renumbered, seeds
from selection_records import evaluation, run_of, view

from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.selection import Selected, build_table, select


def of_art(accuracies: Sequence[tuple[float, float]], draw: int = 0, **where: object) -> RunRecords:
    """A run tested on art, with its accuracy on the training and on the validation split at steps 0, 10, ..."""
    records = [evaluation(10 * i, {"photo": 0.9 - 0.1 * i}, {"art": pair}) for i, pair in enumerate(accuracies)]
    return run_of(records, test_domains=("art",), draws=(draw,), **where)


def pick(runs: Sequence[RunRecords], **switches: object) -> Selected | None:
    return next(iter(select(runs, "oracle", **switches)), None)


def test_the_draw_that_ends_best_on_the_test_domain_wins_whatever_it_reached_before() -> None:
    found = pick([of_art([(1.0, 1.0), (1.0, 0.25)], 0), of_art([(0.0, 0.0), (0.0, 0.5)], 1)])
    assert found is not None
    assert (found.draw, found.step, found.validation_accuracy) == (1, 10, 0.5)
    assert (found.tied_steps, found.tied_draws) == (0, 0)


def test_what_is_reported_is_the_training_split_at_the_last_step() -> None:
    runs = [of_art([(0.9, 0.9), (0.625, 0.5)], trial_seed=seed) for seed in range(3)]
    (row,) = build_table(view(runs, test_domains=(("art",),)), "oracle").rows
    assert row.entries[0].values == (0.625, 0.625, 0.625)


def test_ties_go_to_the_highest_draw() -> None:
    found = pick([of_art([(0.0, 0.5)], draw) for draw in (1, 2, 0)])
    assert found is not None
    assert (found.draw, found.tied_draws) == (2, 2)


def test_two_test_domains_at_once_count_by_their_unweighted_mean() -> None:
    runs = [
        run_of(
            [evaluation(0, {"photo": 0.5}, {"art": (0.0, art), "sketch": (0.0, sketch)})],
            test_domains=("art", "sketch"),
            draws=(draw,),
        )
        for draw, (art, sketch) in enumerate([(0.5, 0.5), (1.0, 0.25), (0.75, 0.25)])
    ]
    found = pick(runs)
    assert found is not None
    assert (found.draw, found.validation_accuracy) == (1, 0.625)


@pytest.mark.parametrize("absent", [math.nan, math.inf])
def test_a_run_that_does_not_end_with_a_finite_accuracy_cannot_be_selected(absent: float) -> None:
    lost = of_art([(0.5, 1.0), (0.5, absent)], 1)
    found = pick([of_art([(0.5, 0.25)]), lost])
    assert found is not None
    assert found.draw == 0
    assert pick([lost]) is None
    assert pick([of_art([])]) is None


@pytest.mark.parametrize("test", [{}, {"sketch": (1.0, 1.0)}])
def test_a_run_whose_last_record_lacks_a_test_domain_cannot_be_selected(test: dict[str, tuple[float, float]]) -> None:
    pair = run_of([evaluation(0, {"photo": 0.5}, test)], test_domains=("art", "sketch"))
    assert pick([pair]) is None


def test_a_diverged_run_ends_where_it_diverged_and_a_trimmed_one_where_it_did() -> None:
    runs = [of_art([(0.5, 0.5)], 0, status=RunStatus.DIVERGED), of_art([(0.5, 0.0), (0.5, 0.25)], 1)]
    found = pick(runs)
    assert found is not None
    assert (found.draw, found.step) == (0, 0)
    for switch in ({"exclude_diverged": True}, {"first_step": 5}):
        later = pick(runs, **switch)
        assert later is not None
        assert (later.draw, later.step) == (1, 10)


def with_end_of(run: RunRecords, kept: RunRecords) -> RunRecords:
    """`run`, at its last step with the accuracies of `kept` on the test domains' validation splits."""
    if not run.records:
        return run
    last, test = run.records[-1], dict(run.records[-1].test.domains)
    for name, scores in kept.records[-1].test.domains.items():
        accuracy = scores.validation.accuracy
        test[name] = replace(test[name], validation=replace(test[name].validation, accuracy=accuracy))
    return changed_run(run, records=(*run.records[:-1], replace(last, test=replace(last.test, domains=test))))


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_only_the_last_step_and_the_validation_splits_of_the_test_domains_count(seed: int) -> None:
    sweep = random_sweep(seed)
    noise = Random(seed)
    changed = sweep.with_runs(lambda run: with_end_of(renumbered(run, sweep.domains, noise.random), run))
    assert select(changed.records, "oracle") == select(sweep.records, "oracle")


def test_the_test_domain_decides() -> None:
    runs = [of_art([(0.5, 0.25)], 0), of_art([(0.5, 0.5)], 1)]
    better = [renumbered(runs[0], ["art"], lambda: 1.0), runs[1]]
    found, moved = pick(runs), pick(better)
    assert found is not None
    assert moved is not None
    assert (found.draw, moved.draw) == (1, 0)
