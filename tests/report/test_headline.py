"""The table of a sweep in words, with its notes."""

from __future__ import annotations

from dataclasses import replace

from invented_sweep import ARMS, NOISY, invented_comparison, invented_sweep

from gga_sweep.report.headline import progress_in_words, score_section
from gga_sweep.report.verdict import answer_in_words, verdicts_in_words
from gga_sweep.report.wording import arm_in_words, entry_in_words, incomplete_in_words
from gga_sweep.selection import Table, build_table


def said(table: Table) -> dict[str, str]:
    return {note.heading: " ".join([note.sentence, *note.items]) for note in score_section(table).notes}


def test_the_table_has_a_row_an_arm_with_every_test_domain_and_the_average(table: Table) -> None:
    section = score_section(table)
    (sheet,) = section.sheets
    assert (section.name, section.title, section.warning) == ("accuracy", table.title, "")
    assert sheet.heads == ("Arm", "0", "45", "75", "Average", "Worst")
    assert sheet.rows == tuple(
        (arm_in_words(row), *map(entry_in_words, (*row.entries, row.average, row.worst))) for row in table.rows
    )


def test_the_highest_complete_means_as_printed_are_bold() -> None:
    table = build_table(invented_sweep(troubled=False))
    means = [[round(100 * entry.mean, 1) for entry in (*row.entries, row.average, row.worst)] for row in table.rows]
    best = [max(column) for column in zip(*means, strict=True)]
    expected = {(i, j) for i, row in enumerate(means) for j, mean in enumerate(row, 1) if mean == best[j - 1]}
    assert score_section(table).sheets[0].bold == expected
    first, second, *_ = table.rows
    top = replace(first.entries[0], mean=0.999, incomplete=True)
    incomplete = replace(table, rows=(replace(first, entries=(top, *first.entries[1:])), *table.rows[1:]))
    assert (0, 1) not in score_section(incomplete).sheets[0].bold
    alike = [
        replace(row, entries=(replace(first.entries[0], mean=mean), *row.entries[1:]))
        for row, mean in ((first, 0.90003), (second, 0.90001))
    ]
    assert {(0, 1), (1, 1)} <= score_section(replace(table, rows=tuple(alike))).sheets[0].bold
    assert score_section(replace(table, rows=(first,))).sheets[0].bold == set()


def test_a_method_that_uses_the_test_domain_has_a_warning_a_note_and_its_own_name() -> None:
    section = score_section(build_table(invented_sweep(), "oracle"))
    assert section.name == "accuracy-oracle"
    assert section.warning.startswith("It chooses by the labels of the test domain")
    assert section.notes[2].heading == "It peeks"


def test_the_plus_minus_is_explained(table: Table) -> None:
    assert "mean ± standard error over 3 trial seeds (population, ddof 0)" in said(table)["Numbers"]
    alone = build_table(invented_sweep(trial_seeds=(0,), troubled=False))
    assert "one trial seed, so without standard error" in said(alone)["Numbers"]


def test_protocol_and_deviations_are_always_given(table: Table) -> None:
    assert said(table)["Protocol"] == (
        "quick, with these deviations: evaluated every 50 steps, not 100 augmentation: none"
    )
    assert said(replace(table, deviations=()))["Protocol"] == "quick, without deviations."


def test_incomplete_cells_are_named_with_draws_and_reasons(table: Table) -> None:
    assert [incomplete_in_words(cell) for cell in table.incomplete] == [
        "ERM · test 0 · seed 1: failed (draw 1)",
        "ERM + GGA, radius 1e-4 · test 75 · seed 1: missing (draw 2)",
        "ERM + GGA, radius 1e-4 · test 75 · seed 2: out of memory (draw 2)",
    ]
    assert said(table)["Incomplete *"].startswith("3 of 27 cells are incomplete.")


def test_a_cell_without_a_selectable_run() -> None:
    nothing = build_table(replace(invented_sweep(), records=()))
    assert incomplete_in_words(nothing.incomplete[0]) == (
        "ERM · test 0 · seed 0: missing (draws 0, 1, 2, 3); nothing to select"
    )


def test_diverged_runs_are_counted_with_their_fate(table: Table) -> None:
    assert said(table)["Diverged"] == "ERM: 1 run. Their records before that can be selected."
    assert said(replace(table, exclude_diverged=True))["Diverged"] == "ERM: 1 run. Left out of selection."


def test_ties_are_counted_by_arm(table: Table) -> None:
    rows = (replace(table.rows[0], tied_steps=2, tied_draws=1), replace(table.rows[1], tied_steps=0, tied_draws=0))
    assert said(replace(table, rows=rows))["Ties"] == (
        "Several steps were best and the lowest was selected (ERM: 2 selected runs). "
        "Several draws were best and the highest was selected (ERM: 1 cell)."
    )


def test_unequal_numbers_of_draws_are_noted(table: Table) -> None:
    assert "Draws" not in said(table)
    rows = (table.rows[0], replace(table.rows[1], draws=20))
    assert said(replace(table, rows=rows))["Draws"] == (
        "cells differ in the number of draws to choose from: ERM: 4 draws; ERM + GGA, radius 1e-5: 20 draws."
    )


def test_a_searched_arm_is_marked_and_explained() -> None:
    searched = build_table(invented_sweep(searched=("ERM",)))
    assert "user's own searcher" in said(searched)["Searched"]


def test_notes_without_a_cause_are_left_out() -> None:
    clean = build_table(invented_sweep(troubled=False))
    assert not {"Incomplete *", "Diverged", "Searched", "Draws", "Note"} & said(clean).keys()


def test_notes_of_the_sweep_are_added(table: Table) -> None:
    assert said(replace(table, notes=("12 runs stand outside the plan.",)))["Note"] == "12 runs stand outside the plan."


def test_a_selection_after_the_annealing_windows_is_noted(table: Table) -> None:
    assert "can be selected" not in said(table)["Selection"]
    after = replace(table, select_from="after-window", first_step=60)
    assert said(after)["Selection"].endswith("can be selected: from step 60 on, in every arm.")


def test_a_compared_table_has_the_verdicts_and_a_column_of_differences() -> None:
    view = invented_sweep(arms=(*ARMS, NOISY))
    table, comparison = build_table(view), invented_comparison(view)
    section = score_section(table, comparison)
    (sheet,) = section.sheets
    assert section.verdict == verdicts_in_words(comparison.verdicts)
    assert sheet.heads[-1] == "Difference [95\N{NO-BREAK SPACE}%]"
    of_baseline, *others = (row[-1] for row in sheet.rows)
    assert of_baseline == "\N{EN DASH}"
    for words, contrast in zip(others, comparison.selected, strict=True):
        difference = contrast.difference
        numbers = [f"{100 * number:{sign}.2f}" for number, sign in ((difference.mean, "+"), (difference.low, ""))]
        assert words.startswith(f"{numbers[0]} [{numbers[1]}, ")
        assert words.endswith("*") == contrast.incomplete
    [note] = [note for note in section.notes if note.heading == "Difference"]
    assert note.sentence.startswith("average minus that of ERM, in points")
    assert note.items == ()


def test_of_many_arms_the_verdicts_are_short() -> None:
    arms = ("ERM", *(f"arm {number}" for number in range(6)))
    view = replace(invented_sweep(arms=arms), baselines=dict.fromkeys(arms[1:], "ERM"))
    comparison = invented_comparison(view)
    section = score_section(build_table(view), comparison)
    assert section.verdict == answer_in_words(comparison.verdicts)


def test_several_baselines_are_named_in_the_note() -> None:
    view = replace(invented_sweep(), baselines={ARMS[1]: "ERM", ARMS[2]: ARMS[1]})
    notes = score_section(build_table(view), invented_comparison(view)).notes
    [note] = [note for note in notes if note.heading == "Difference"]
    assert note.items == (f"{ARMS[1]} against ERM", f"{ARMS[2]} against {ARMS[1]}")


def test_progress_has_what_is_compared_and_the_states_of_the_runs() -> None:
    view = invented_sweep()
    assert progress_in_words(view, build_table(view)) == (
        "3 arms on 3 test domains of RotatedDigits, 3 trial seeds; runs: 104 done, 1 diverged, 1 failed, "
        "1 out of memory, 1 missing"
    )
    nothing = replace(view, records=())
    assert progress_in_words(nothing, build_table(nothing)).endswith("runs: 108 missing")
    done = invented_sweep(troubled=False)
    assert progress_in_words(done, build_table(done)).endswith("; all 108 runs done")
