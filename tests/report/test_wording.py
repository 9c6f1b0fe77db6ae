"""The sentences that stand beside the numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from invented_sweep import invented_sweep

from gga_sweep.records import RunStatus
from gga_sweep.report.wording import (
    counts_in_words,
    duration_in_words,
    entry_in_words,
    footnotes,
    incomplete_in_words,
    percent,
    uncertainty_in_words,
)
from gga_sweep.selection import Table, build_table
from gga_sweep.selection.table import summarize


def said(table: Table) -> dict[str, str]:
    return {note.heading: " ".join([note.sentence, *note.items]) for note in footnotes(table)}


@pytest.mark.parametrize(
    ("values", "lacks", "words"),
    [
        ([0.1, 0.2, 0.3], False, "20.0 ± 4.7"),
        ([0.1, 0.2, 0.3], True, "20.0 ± 4.7*"),
        ([0.1, 0.3, math.nan], False, "20.0 ± 7.1 (2/3)*"),
        ([0.2, math.nan], False, "20.0 (1/2)*"),
        ([0.2], False, "20.0"),
        ([math.nan, math.nan], False, "– (0/2)*"),  # noqa: RUF001
        ([1.0, 1.0], False, "100.0 ± 0.0"),
    ],
)
def test_an_entry_says_its_mean_its_error_and_what_it_lacks(values: list[float], lacks: bool, words: str) -> None:
    assert entry_in_words(summarize(values, incomplete=lacks)) == words


def test_percent_has_one_decimal_and_a_dash_for_what_is_absent() -> None:
    assert percent(0.84749) == "84.7"
    assert percent(math.nan) == "\N{EN DASH}"


def test_the_plus_minus_is_explained(table: Table) -> None:
    assert uncertainty_in_words(table) == "mean ± standard error over 3 trial seeds (population, ddof 0)"
    alone = build_table(invented_sweep(trial_seeds=(0,), troubled=False))
    assert uncertainty_in_words(alone) == "one trial seed, so without standard error"


def test_protocol_and_deviations_are_always_said(table: Table) -> None:
    assert said(table)["Protocol"] == (
        "quick, with these deviations: evaluated every 50 steps, not 100 augmentation: none"
    )
    assert said(replace(table, deviations=()))["Protocol"] == "quick, without deviations."


def test_incomplete_cells_are_named_with_draws_and_reasons(table: Table) -> None:
    assert [incomplete_in_words(cell) for cell in table.incomplete] == [
        "ERM, test 0, trial seed 1: failed (draw 1)",
        "ERM + GGA, radius 1e-4, test 75, trial seed 1: missing (draw 2)",
        "ERM + GGA, radius 1e-4, test 75, trial seed 2: out of memory (draw 2)",
    ]
    assert said(table)["Incomplete *"].startswith("3 of 27 cells lack what the plan wants.")


def test_a_cell_with_nothing_to_select_says_so() -> None:
    nothing = build_table(replace(invented_sweep(), records=()))
    assert incomplete_in_words(nothing.incomplete[0]) == (
        "ERM, test 0, trial seed 0: missing (draws 0, 1, 2, 3); nothing to select"
    )


def test_diverged_runs_are_counted_with_their_fate(table: Table) -> None:
    assert said(table)["Diverged"] == "ERM: 1 run. Their records before that take part in selection."
    assert said(replace(table, exclude_diverged=True))["Diverged"] == "ERM: 1 run. Left out of selection."


def test_ties_are_counted_by_arm(table: Table) -> None:
    rows = (replace(table.rows[0], tied_steps=2, tied_draws=1), replace(table.rows[1], tied_steps=0, tied_draws=0))
    assert said(replace(table, rows=rows))["Ties"] == (
        "Several steps were best and the lowest was taken (ERM: 2 selected runs). "
        "Several draws were best and the highest was taken (ERM: 1 cell)."
    )


def test_unequal_numbers_of_draws_are_said(table: Table) -> None:
    assert "Draws" not in said(table)
    rows = (table.rows[0], replace(table.rows[1], draws=20))
    assert said(replace(table, rows=rows))["Draws"] == (
        "cells differ in what they could choose from: ERM: 4 draws; ERM + GGA, radius 1e-5: 20 draws."
    )


def test_a_searched_arm_is_marked_and_explained() -> None:
    searched = build_table(invented_sweep(searched=("ERM",)))
    assert "user's own searcher" in said(searched)["Searched"]


def test_what_is_not_there_is_not_mentioned() -> None:
    clean = build_table(invented_sweep(troubled=False))
    assert not {"Incomplete *", "Diverged", "Searched", "Draws", "Note"} & said(clean).keys()


def test_notes_of_the_caller_are_said(table: Table) -> None:
    assert said(replace(table, notes=("12 runs stand outside the plan.",)))["Note"] == "12 runs stand outside the plan."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (42.4, "42 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d 00 h"),
        (100800, "1 d 04 h"),
    ],
)
def test_durations_are_written_in_two_units_at_most(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words


def test_counts_are_written_without_what_is_not_there() -> None:
    some = {RunStatus.DONE: 12, RunStatus.OUT_OF_MEMORY: 1, RunStatus.QUEUED: 22, RunStatus.FAILED: 0}
    assert counts_in_words(some) == "22 queued, 12 done, 1 out of memory"
    assert counts_in_words(some, [RunStatus.FAILED]) == "no runs"
