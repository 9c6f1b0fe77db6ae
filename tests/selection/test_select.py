"""Selection over many cells, by every method, against a reference written from the definitions."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_sweeps import RandomSweep, random_sweep, renumbered, seeds
from selection_by_definition import pick_all
from selection_records import run

from gga_sweep.errors import InputError
from gga_sweep.records import Cell, RunStatus
from gga_sweep.selection import METHODS, Selected, select

FINISHED = ("DONE", "DIVERGED", "STOPPED")
FIRST_STEPS = st.sampled_from([0, 0, 5, 10])


def selection(method: str, sweep: RandomSweep, **switches: object) -> tuple[Selected, ...]:
    return select(sweep.records, method, pair_records=sweep.pair_records, cells=sweep.cells, **switches)


@given(seeds, st.booleans(), FIRST_STEPS)
@settings(max_examples=600, deadline=None)
def test_every_method_agrees_with_its_definition(seed: int, exclude_diverged: bool, first_step: int) -> None:
    sweep = random_sweep(seed)
    switches = {"exclude_diverged": exclude_diverged, "first_step": first_step}
    for method in METHODS:
        found = {
            one.cell: (one.key, one.draw, one.step, one.score, one.tied_steps, one.tied_draws)
            for one in selection(method, sweep, **switches)
        }
        assert found == pick_all(method, sweep, **switches)


@pytest.mark.parametrize("method", METHODS)
def test_the_random_sweeps_put_every_rule_of_a_method_to_the_test(method: str) -> None:
    sweeps = [random_sweep(seed) for seed in range(100)]
    picks = [pick for sweep in sweeps for pick in pick_all(method, sweep).values()]
    assert sum(map(len, (sweep.cells for sweep in sweeps))) - len(picks) > 10
    assert sum(pick.other_runs > 0 for pick in picks) > 5
    assert (sum(pick.other_steps > 0 for pick in picks) > 20) == (method != "oracle")


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_no_number_on_a_test_domain_moves_training_domain_validation(seed: int) -> None:
    sweep = random_sweep(seed)
    noise = Random(seed)
    changed = sweep.with_runs(lambda run: renumbered(run, run.cell.test_domains, noise.random))
    assert select(changed.records) == select(sweep.records)


def test_the_first_step_itself_takes_part() -> None:
    assert [select([run([0.75, 0.5, 0.25])], first_step=step)[0].step for step in (0, 1, 10, 11)] == [0, 10, 10, 20]
    assert select([run([0.75, 0.5])], first_step=11) == ()


def test_pair_runs_are_selected_in_no_cell_and_change_no_other_method() -> None:
    pairs = [run([1.0], test_domains=("art", "sketch"), draws=(draw,)) for draw in (0, 1)]
    for method in ("training-domain-validation", "oracle", "shared-draw"):
        assert select([run([0.5])], method, pair_records=pairs) == select([run([0.5])], method)


def test_cells_come_in_the_order_of_the_plan_then_as_they_appear() -> None:
    runs = [run(trial_seed=seed) for seed in (3, 1, 0, 2)]
    planned = [Cell("PACS", "ERM", ("sketch",), seed) for seed in (2, 7, 1)]
    assert [one.cell.trial_seed for one in select(iter(runs), cells=iter(planned))] == [2, 1, 3, 0]


def test_a_selected_run_says_where_it_stands_and_how_it_won() -> None:
    assert select([run([0.4, 0.8, 0.8], draws=(0, 2)), run([0.8], draws=(1,), key="second")]) == (
        Selected(
            cell=Cell("PACS", "ERM", ("sketch",), 0),
            key="ERM/sketch/0/(0, 2)",
            folder="folder of ERM/sketch/0/(0, 2)",
            draw=2,
            step=10,
            score=0.8,
            tied_steps=1,
            tied_draws=1,
        ),
    )


@pytest.mark.parametrize("status", [status for status in RunStatus if status.value not in FINISHED])
def test_a_run_that_is_not_final_takes_no_part_and_marks_its_cell(status: RunStatus) -> None:
    (selected,) = select([run([0.4], draws=(0,)), run([0.9], draws=(1,), status=status)])
    assert (selected.draw, selected.unfinished, selected.incomplete) == (0, {status: 1}, True)


def test_a_cell_without_a_selectable_run_is_absent() -> None:
    assert select([run([math.nan])]) == ()
    assert select([]) == ()


def test_an_unknown_method_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InputError, match="must be a known selection method, got 'best-guess'") as caught:
        select([], method="best-guess")
    (fault,) = caught.value.faults
    assert fault.allowed == ("training-domain-validation", "leave-one-domain-out", "oracle", "shared-draw")


def test_a_run_that_stands_twice_in_its_cell_or_has_no_draw_is_refused() -> None:
    with pytest.raises(InputError, match="only once in its cell, got 'twice'") as caught:
        select([run(key="twice"), run(key="twice"), run(key="drawless", draws=(), trial_seed=1)])
    assert "must have a draw number, got 'drawless'" in str(caught.value)


def test_faults_of_pair_runs_are_named_with_all_others() -> None:
    pairs = [run(key=key, draws=draws, test_domains=("art", "sketch")) for key, draws in [("b", (0,)), ("b", (1,))]]
    drawless = run(key="c", draws=(), test_domains=("art", "photo"))
    with pytest.raises(InputError) as caught:
        select([run(key="a"), run(key="a")], "best-guess", pair_records=[*pairs, drawless])
    assert [fault.got for fault in caught.value.faults] == ["a", "b", "c", "best-guess"]


def test_a_run_shared_by_two_arms_is_selected_in_both() -> None:
    shared = [run(key="shared", arm="ERM"), run(key="shared", arm="GGA")]
    assert [(one.cell.arm, one.key) for one in select(shared)] == [("ERM", "shared"), ("GGA", "shared")]
