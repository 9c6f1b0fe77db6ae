"""The table as Markdown."""

from __future__ import annotations

from invented_sweep import invented_comparison, invented_sweep

from gga_sweep.report.markdown import render_markdown
from gga_sweep.report.sections import sections
from gga_sweep.report.wording import entry_in_words, incomplete_in_words
from gga_sweep.selection import Comparison, Table, build_table


def test_every_arm_is_a_row_of_the_table(table: Table, comparison: Comparison) -> None:
    lines = render_markdown(table, comparison).splitlines()
    assert lines[2:4] == ["| Arm | 0 | 45 | 75 | Average |", "| --- | --- | --- | --- | --- |"]
    for line, row in zip(lines[4:], table.rows, strict=False):
        numbers = [entry_in_words(entry).replace("*", "\\*") for entry in (*row.entries, row.average)]
        assert line == f"| {' | '.join([row.arm, *numbers])} |"


def test_protocol_deviations_and_every_incomplete_cell_are_listed(table: Table, comparison: Comparison) -> None:
    text = render_markdown(table, comparison)
    assert "- **Protocol:** quick, with these deviations:\n  - evaluated every 50 steps, not 100\n" in text
    for cell in table.incomplete:
        assert f"  - {incomplete_in_words(cell)}\n" in text


def test_no_name_becomes_markup() -> None:
    nasty = "a|b *bold* <script>x</script>\n# _head_ [l](u) `c`"
    sweep = invented_sweep(arms=(nasty,))
    text = render_markdown(build_table(sweep), invented_comparison(sweep))
    assert text.count(r"| a\|b \*bold\* \<script\>x\</script\> \# \_head\_ \[l\](u) \`c\` |") == 2  # accuracy and cost


def test_every_section_follows_with_its_tables_and_footnotes(table: Table, comparison: Comparison) -> None:
    text = render_markdown(table, comparison).replace("\\", "")
    for section in sections(comparison):
        assert f"\n\n### {section.title}\n\n" in text
        for sheet in section.sheets:
            assert f"\n\n| {' | '.join(' '.join(head.split()) for head in sheet.heads)} |\n| --- |" in text
            for row in sheet.rows:
                assert f"\n| {' | '.join(row)} |\n" in text
        for note in section.notes:
            assert f"\n- **{note.heading}:** {note.sentence}\n" in text
