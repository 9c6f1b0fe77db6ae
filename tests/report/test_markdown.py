"""The table as Markdown."""

from __future__ import annotations

from invented_sweep import invented_sweep

from gga_sweep.report.markdown import render_markdown
from gga_sweep.report.wording import entry_in_words, incomplete_in_words
from gga_sweep.selection import Table, build_table


def test_every_arm_is_a_row_of_the_table(table: Table) -> None:
    lines = render_markdown(table).splitlines()
    assert lines[2:4] == ["| Arm | 0 | 45 | 75 | Average |", "| --- | --- | --- | --- | --- |"]
    for line, row in zip(lines[4:], table.rows, strict=False):
        numbers = [entry_in_words(entry).replace("*", "\\*") for entry in (*row.entries, row.average)]
        assert line == f"| {' | '.join([row.arm, *numbers])} |"


def test_protocol_deviations_and_every_incomplete_cell_are_listed(table: Table) -> None:
    text = render_markdown(table)
    assert "- **Protocol:** quick, with these deviations:\n  - evaluated every 50 steps, not 100\n" in text
    for cell in table.incomplete:
        assert f"  - {incomplete_in_words(cell)}\n" in text


def test_no_name_becomes_markup() -> None:
    nasty = "a|b *bold* <script>x</script>\n# _head_ [l](u) `c`"
    text = render_markdown(build_table(invented_sweep(arms=(nasty,))))
    assert r"| a\|b \*bold\* \<script\>x\</script\> \# \_head\_ \[l\](u) \`c\` |" in text
