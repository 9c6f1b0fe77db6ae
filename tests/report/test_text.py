"""The table in a terminal and in a pipe."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from invented_sweep import ARMS, DOMAINS, NOISY, PUBLISHED, invented_report, invented_sweep
from rich.cells import cell_len
from rich.console import Console

from gga_sweep.report.content import Report
from gga_sweep.report.sections import sections
from gga_sweep.report.text import print_text, render_text
from gga_sweep.report.wording import entry_in_words
from gga_sweep.selection import Table, build_table

WIDE = invented_report(invented_sweep(test_domains=DOMAINS, searched=("ERM",)))


@pytest.mark.parametrize("width", [24, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(cell_len, render_text(WIDE, width).splitlines())) <= width


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_number_is_printed_whole_at_any_width(width: int) -> None:
    text = render_text(WIDE, width)
    for row in WIDE.table.rows:
        for entry in (*row.entries, row.average):
            assert entry_in_words(entry) in text


def test_a_narrow_terminal_gets_the_columns_in_blocks_each_with_the_arms() -> None:
    table = io.StringIO(), io.StringIO()
    for file, width in zip(table, (200, 80), strict=True):
        print_text(WIDE.table, Console(file=file, width=width))
    assert [file.getvalue().count("ERM (searched)") for file in table] == [1, 2]


def test_protocol_and_deviations_are_printed(report: Report) -> None:
    text = render_text(report)
    assert "Protocol: quick" in text
    assert "- evaluated every 50 steps, not 100" in text


def test_a_pipe_gets_no_colour_and_a_terminal_does(table: Table) -> None:
    pipe, terminal = io.StringIO(), io.StringIO()
    print_text(table, Console(file=pipe, width=80))
    print_text(table, Console(file=terminal, width=80, force_terminal=True, color_system="standard"))
    assert "\x1b[" not in pipe.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_a_name_that_looks_like_markup_stays_a_name() -> None:
    text = render_text(invented_report(invented_sweep(arms=("[red]ERM[/red]", "[/]"))))
    assert "[red]ERM[/red]" in text
    assert "[/] " in text


def test_a_long_list_of_incomplete_cells_is_cut_and_says_so() -> None:
    text = render_text(invented_report(replace(invented_sweep(), records=())), 120)
    assert text.count("nothing to select") == 10
    assert "and 17 more" in text


COMPARED = invented_sweep(arms=(*ARMS, NOISY), trial_seeds=range(5))


@pytest.mark.parametrize("width", [40, 80, 100])
def test_the_comparison_follows_with_every_number_whole_and_no_line_too_wide(width: int) -> None:
    report = invented_report(COMPARED)
    text = render_text(report, width)
    assert max(map(cell_len, text.splitlines())) <= width
    for section in sections(report.comparison):
        assert section.title in " ".join(text.split())
        for sheet in section.sheets:
            assert sheet.title in text
            for _, *numbers in sheet.rows:
                assert all(number in text for number in numbers)


def test_differences_stand_in_one_block_at_eighty_columns() -> None:
    heads = "Difference [95\N{NO-BREAK SPACE}%]   p      Holm   n (pairs)  Detects"
    assert render_text(invented_report(COMPARED), 80).count(heads) == 2


def test_arms_fold_where_that_keeps_the_columns_together() -> None:
    text = render_text(invented_report(COMPARED), 72)
    assert text.count("Detects\n") == 2
    assert re.search(r"^ERM \+ GGA, radius +\+1\.00 .*\n1e-5$", text, re.MULTILINE)


def test_without_a_comparison_the_table_stands_alone(report: Report) -> None:
    alone = io.StringIO()
    print_text(report.table, Console(file=alone, width=100))
    assert "Difference" not in alone.getvalue()
    whole = render_text(report)
    assert whole.startswith("\n".join(line.rstrip() for line in alone.getvalue().splitlines()))
    assert "Difference" in whole


def test_the_tables_of_other_methods_follow_each_with_its_own_notes(report: Report) -> None:
    by_oracle = build_table(report.view, "oracle")
    text = render_text(replace(report, others=(by_oracle,)))
    assert text.startswith(render_text(report))
    added = " ".join(text.removeprefix(render_text(report)).split())
    assert added.startswith(f"{by_oracle.title} Arm")
    assert "It peeks: it chooses by the labels of the test domain" in added
    assert "It peeks" not in render_text(report)


def test_published_rows_follow_the_comparison(report: Report) -> None:
    text = render_text(replace(report, published=PUBLISHED))
    added = " ".join(text.removeprefix(render_text(report)).replace("─", "").split())
    assert added == "Theirs Arm 0 GGA 81.5 Beware: of it."
