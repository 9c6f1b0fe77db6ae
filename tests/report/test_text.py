"""The report in a terminal and in a pipe."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from invented_sweep import ARMS, DOMAINS, NOISY, invented_report, invented_sweep, whole_report
from rich.cells import cell_len
from rich.console import Console

from gga_sweep.report.make_report import Report
from gga_sweep.report.text import MOST_ARMS, print_answer, print_report, render_text
from gga_sweep.selection import build_table

WIDE = invented_report(invented_sweep(test_domains=DOMAINS, searched=("ERM",)))
WHOLE = whole_report()


@pytest.mark.parametrize("report", [WIDE, WHOLE], ids=["wide", "whole"])
@pytest.mark.parametrize("width", [48, 80, 100, 200])
def test_every_title_and_number_is_printed_whole_and_no_line_is_too_wide(width: int, report: Report) -> None:
    text = render_text(report, width)
    assert max(map(cell_len, text.splitlines())) <= width
    for section in report.sections:
        assert section.title in " ".join(text.split())
        for sheet in section.sheets:
            assert sheet.title in text
            for _, *numbers in sheet.rows:
                assert all(number in text for number in numbers)


def test_no_line_is_wider_than_the_narrowest_terminal() -> None:
    assert max(map(cell_len, render_text(WIDE, 24).splitlines())) <= 24


def test_every_note_is_printed() -> None:
    text = " ".join(render_text(WHOLE, 2000).split())
    for section in WHOLE.sections:
        for note in section.notes:
            listed = " ".join(f"- {item}" for item in note.items)
            assert " ".join(f"{note.heading}: {note.sentence} {listed}".split()) in text


def test_sections_follow_in_order_each_behind_an_empty_line() -> None:
    text = render_text(WHOLE, 200)
    places = [text.index(f"\n\n{section.title}\n\n") for section in WHOLE.sections[1:]]
    assert text.startswith(f"{WHOLE.sections[0].title}\n\n")
    assert places == sorted(places)


def test_a_narrow_terminal_gets_the_columns_in_blocks_each_with_the_arms() -> None:
    tables = [render_text(WIDE, width).split("Numbers:")[0] for width in (200, 80)]
    assert [table.count("ERM (searched)") for table in tables] == [1, 3]


def test_a_pipe_gets_no_colour_and_a_terminal_does(report: Report) -> None:
    pipe, terminal = io.StringIO(), io.StringIO()
    print_report(report, Console(file=pipe, width=80))
    print_report(report, Console(file=terminal, width=80, force_terminal=True, color_system="standard"))
    assert "\x1b[" not in pipe.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_a_name_that_looks_like_markup_stays_a_name() -> None:
    text = render_text(invented_report(invented_sweep(arms=("[red]ERM[/red]", "[/]"))))
    assert "[red]ERM[/red]" in text
    assert "[/] " in text


def test_a_long_list_is_cut_with_a_count_of_the_rest() -> None:
    text = render_text(invented_report(replace(invented_sweep(), records=())), 120)
    assert text.count("nothing to select") == 10
    assert "and 17 more" in text


COMPARED = invented_report(invented_sweep(arms=(*ARMS, NOISY), trial_seeds=range(5)))


def test_long_heads_are_broken_so_that_differences_stand_in_one_block_at_eighty_columns() -> None:
    text = render_text(COMPARED, 80)
    assert text.count("Difference [95\N{NO-BREAK SPACE}%]   p      Holm   n (pairs)") == 2
    assert text.count("Smallest") == 3  # once in the notes
    assert re.search(r"^ERM \+ GGA, radius 1e-5  \+1\.00 \[.*\)\*?  +\d+\.\d\d$", text, re.MULTILINE)


def test_arms_fold_where_that_keeps_the_columns_together() -> None:
    text = render_text(COMPARED, 72)
    assert re.search(r"^ERM \+ GGA, radius +\+1\.00 .*\n1e-5$", text, re.MULTILINE)


def answer(report: Report, width: int) -> str:
    output = io.StringIO()
    print_answer(report, Console(file=output, width=width))
    return output.getvalue()


def test_an_answer_has_what_was_compared_the_differences_and_the_verdict_in_twelve_lines() -> None:
    report = invented_report(invented_sweep(arms=("ERM", NOISY), troubled=False))
    text = answer(report, 80)
    lines = text.splitlines()
    title = "demo: accuracy (%) of 2 arms on 3 test domains of RotatedDigits, 3 trial seeds; all 72 runs done."
    assert " ".join(text.split()).startswith(title)
    assert len(lines) <= 12
    assert max(map(cell_len, lines)) <= 80
    shown = [(*row[:5], row[-1]) for row in report.sections[0].sheets[0].rows]  # without the worst test domain
    assert all(cell in text for row in shown for cell in row)
    assert " ".join(text.split()).endswith(report.sections[0].verdict[-1])


def test_an_answer_leaves_out_test_domains_that_do_not_fit() -> None:
    wide, narrow = (answer(WIDE, width).splitlines() for width in (200, 80))
    heads = next(line for line in narrow if line.startswith("Arm")).split()
    assert heads == ["Arm", "Average", "Worst", "Difference", "[95", "%]"]
    assert set(DOMAINS) < set(next(line for line in wide if line.startswith("Arm")).split())


def test_an_answer_on_many_arms_shows_the_baseline_and_the_best_in_order() -> None:
    view = invented_sweep(arms=("ERM", *(f"ERM + GGA, radius {i}" for i in range(30))), troubled=False)
    report = invented_report(replace(view, baselines=dict.fromkeys(view.arms[1:], "ERM")))
    text = answer(report, 80)
    shown = [row.arm for row in report.table.rows if f"\n{row.arm} " in text]
    assert len(shown) == MOST_ARMS
    assert shown[0] == "ERM"
    assert max(report.table.rows, key=lambda row: row.average.mean).arm in shown
    assert f"and {31 - MOST_ARMS} more arms" in text


@pytest.mark.parametrize("width", [24, 80])
def test_an_answer_on_nothing_one_seed_or_long_names_fits_the_width(width: int) -> None:
    long = ("E" * 100, "F" * 100)
    for view in (
        replace(invented_sweep(), records=()),
        invented_sweep(trial_seeds=(0,)),
        replace(invented_sweep(arms=long), baselines={long[1]: long[0]}),
        invented_sweep(arms=("ERM",)),
    ):
        assert max(map(cell_len, answer(invented_report(view), width).splitlines())) <= width


def test_an_answer_by_a_method_that_peeks_says_so() -> None:
    view = invented_sweep()
    peeking = replace(invented_report(view), table=build_table(view, "oracle"))
    assert "It chooses by the labels of the test domain" in answer(peeking, 200)
