"""The oracle: the last step, the test domains' validation splits, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from made_runs import changed_run
from random_sweeps import random_sweep, renumbered, seeds
from selection_records import evaluation, run_of

from gga_sweep.records import RunRecords
from gga_sweep.selection import Selected, select


def of_art(accuracies: Sequence[tuple[float, float]], draw: int = 0, **where: object) -> RunRecords:
    """A run tested on art, with its accuracy on the training and on the validation split at steps 0, 10, ..."""
    records = [evaluation(10 * i, {"photo": 0.9 - 0.1 * i}, {"art": pair}) for i, pair in enumerate(accuracies)]
    return run_of(records, test_domains=("art",), draws=(draw,), **where)


def pick(runs: Sequence[RunRecords], **switches: object) -> Selected | None:
    return next(iter(select(runs, "oracle", **switches)), None)


@pytest.mark.parametrize("test", [{}, {"sketch": (1.0, 1.0)}])
def test_a_run_whose_last_record_lacks_a_test_domain_cannot_be_selected(test: dict[str, tuple[float, float]]) -> None:
    pair = run_of([evaluation(0, {"photo": 0.5}, test)], test_domains=("art", "sketch"))
    assert pick([pair]) is None


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
