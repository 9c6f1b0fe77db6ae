"""Selection over many cells, against a reference written from the definition."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_records import record, run

from gga_sweep.errors import InputError
from gga_sweep.records import Cell, RunRecords, RunStatus
from gga_sweep.selection import Selected, select

FINISHED = ("DONE", "DIVERGED", "STOPPED")
CELLS = [
    Cell("PACS", "ERM", ("art", "sketch"), 0),
    Cell("PACS", "ERM", ("photo",), 0),
    Cell("PACS", "GGA", ("photo",), 1),
]
ACCURACIES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan, math.inf])  # few, so that ties abound


def _reference_select(records: list[RunRecords], exclude_diverged: bool) -> dict[Cell, tuple[str, int, int, int, int]]:
    """DomainBed's rule as one sort a cell: best accuracy, then highest draw, then lowest step.

    Returns, by cell, the chosen run's key, draw and step, and the numbers of other steps and runs as good.
    """
    lines = [
        {
            "cell": CELLS.index(one.cell),
            "key": one.key,
            "draw": sorted(one.draws)[-1],
            "step": evaluation.step,
            "val": pd.Series([s.validation.accuracy for s in evaluation.validation.domains.values()]).mean(
                skipna=False
            ),
        }
        for one in records
        if one.status.value in FINISHED and not (exclude_diverged and one.status.value == "DIVERGED")
        for evaluation in one.records
    ]
    frame = pd.DataFrame(lines, columns=["cell", "key", "draw", "step", "val"])
    frame = frame[frame["val"].map(math.isfinite).astype(bool)]
    chosen = {}
    for index, group in frame.groupby("cell"):
        first = group.sort_values(["val", "draw", "step"], ascending=[False, False, True]).iloc[0]
        as_good = group[group["val"] == first["val"]]
        steps = int((as_good["key"] == first["key"]).sum()) - 1
        chosen[CELLS[index]] = (
            first["key"],
            int(first["draw"]),
            int(first["step"]),
            steps,
            as_good["key"].nunique() - 1,
        )
    return chosen


@st.composite
def random_records(draw: st.DrawFn) -> list[RunRecords]:
    """Runs of up to three cells: ties, NaN, repeated draws, missing and unfinished runs, in any order."""
    records = []
    for index, cell in enumerate(CELLS):
        numbers = draw(st.permutations(range(6)))
        cuts = sorted(draw(st.sets(st.integers(0, 6), max_size=4)))
        for start, end in pairwise(cuts):
            accuracies = draw(st.lists(st.tuples(ACCURACIES, ACCURACIES), max_size=4))
            records.append(
                RunRecords(
                    key=f"{index}-{start}",
                    folder=f"folder {index}-{start}",
                    cell=cell,
                    draws=tuple(sorted(numbers[start:end])),
                    hyperparameters={},
                    status=draw(st.sampled_from([*RunStatus, *[RunStatus.DONE] * 8])),
                    records=tuple(record(7 * i, pair, {"photo": 0.5}) for i, pair in enumerate(accuracies)),
                )
            )
    return draw(st.permutations(records))


@given(random_records(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_selection_agrees_with_the_reference(records: list[RunRecords], exclude_diverged: bool) -> None:
    selected = select(records, exclude_diverged=exclude_diverged)
    found = {one.cell: (one.key, one.draw, one.step, one.tied_steps, one.tied_draws) for one in selected}
    assert found == _reference_select(records, exclude_diverged)


@given(random_records(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_records_decides_nothing(records: list[RunRecords], random: Random) -> None:
    shuffled = list(records)
    random.shuffle(shuffled)
    assert {one.cell: one for one in select(records)} == {one.cell: one for one in select(shuffled)}


@given(random_records(), st.lists(st.floats(0, 1), min_size=1))
@settings(max_examples=50, deadline=None)
def test_no_test_accuracy_moves_the_selection(records: list[RunRecords], noise: list[float]) -> None:
    noised = [
        replace(
            one,
            records=tuple(
                record(
                    r.step,
                    [s.validation.accuracy for s in r.validation.domains.values()],
                    {"photo": noise[i % len(noise)]},
                )
                for i, r in enumerate(one.records)
            ),
        )
        for one in records
    ]
    assert select(noised) == select(records)


def test_a_selected_run_says_where_it_stands_and_how_it_won() -> None:
    assert select([run([0.4, 0.8, 0.8], draws=(0, 2)), run([0.8], draws=(1,), key="second")]) == (
        Selected(
            cell=Cell("PACS", "ERM", ("sketch",), 0),
            key="ERM/sketch/0/(0, 2)",
            folder="folder of ERM/sketch/0/(0, 2)",
            draw=2,
            step=10,
            validation_accuracy=0.8,
            tied_steps=1,
            tied_draws=1,
        ),
    )


@pytest.mark.parametrize("status", [status for status in RunStatus if status.value not in FINISHED])
def test_a_run_that_is_not_final_takes_no_part_and_marks_its_cell(status: RunStatus) -> None:
    (selected,) = select([run([0.4], draws=(0,)), run([0.9], draws=(1,), status=status)])
    assert (selected.draw, selected.unfinished, selected.incomplete) == (0, {status: 1}, True)


@pytest.mark.parametrize("status", ["DONE", "DIVERGED", "STOPPED"])
def test_a_final_run_takes_part_and_leaves_its_cell_complete(status: str) -> None:
    (selected,) = select([run([0.4], draws=(0,)), run([0.9, math.nan], draws=(1,), status=RunStatus(status))])
    assert (selected.draw, selected.step, selected.incomplete) == (1, 0, False)


def test_a_diverged_run_can_be_left_out() -> None:
    records = [run([0.4], draws=(0,)), run([0.9], draws=(1,), status=RunStatus.DIVERGED)]
    assert select(records)[0].draw == 1
    assert select(records, exclude_diverged=True)[0].draw == 0


def test_a_cell_without_a_selectable_run_is_absent() -> None:
    assert select([run([math.nan])]) == ()
    assert select([]) == ()


def test_an_unknown_method_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"'best-guess' \(allowed: training-domain-validation\)"):
        select([], method="best-guess")


def test_a_run_that_stands_twice_in_its_cell_or_has_no_draw_is_refused() -> None:
    with pytest.raises(InputError, match="only once in its cell, got 'twice'") as caught:
        select([run(key="twice"), run(key="twice"), run(key="drawless", draws=(), trial_seed=1)])
    assert "must have a draw number, got 'drawless'" in str(caught.value)


def test_a_run_shared_by_two_arms_is_selected_in_both() -> None:
    shared = [run(key="shared", arm="ERM"), run(key="shared", arm="GGA")]
    assert [(one.cell.arm, one.key) for one in select(shared)] == [("ERM", "shared"), ("GGA", "shared")]
