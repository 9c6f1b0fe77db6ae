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
from gga_sweep.report.text import print_report, render_text

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
    assert [table.count("ERM (searched)") for table in tables] == [1, 2]


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
