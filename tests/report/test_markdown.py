"""The table as Markdown."""

from __future__ import annotations

from dataclasses import replace

from invented_sweep import PUBLISHED, invented_report, invented_sweep

from gga_sweep.report.content import Report
from gga_sweep.report.markdown import render_markdown
from gga_sweep.report.sections import sections
from gga_sweep.report.wording import entry_in_words, incomplete_in_words
from gga_sweep.selection import build_table


def test_every_arm_is_a_row_of_the_table(report: Report) -> None:
    lines = render_markdown(report).splitlines()
    assert lines[2:4] == ["| Arm | 0 | 45 | 75 | Average |", "| --- | --- | --- | --- | --- |"]
    for line, row in zip(lines[4:], report.table.rows, strict=False):
        numbers = [entry_in_words(entry).replace("*", "\\*") for entry in (*row.entries, row.average)]
        assert line == f"| {' | '.join([row.arm, *numbers])} |"


def test_protocol_deviations_and_every_incomplete_cell_are_listed(report: Report) -> None:
    text = render_markdown(report)
    assert "- **Protocol:** quick, with these deviations:\n  - evaluated every 50 steps, not 100\n" in text
    for cell in report.table.incomplete:
        assert f"  - {incomplete_in_words(cell)}\n" in text


def test_no_name_becomes_markup() -> None:
    nasty = "a|b *bold* <script>x</script>\n# _head_ [l](u) `c`"
    text = render_markdown(invented_report(invented_sweep(arms=(nasty,))))
    assert (
        text.count(r"| a\|b \*bold\* \<script\>x\</script\> \# \_head\_ \[l\](u) \`c\` |") == 3
    )  # accuracy, budget and cost


def test_every_section_follows_with_its_tables_and_footnotes(report: Report) -> None:
    text = render_markdown(report).replace("\\", "")
    for section in sections(report.comparison):
        assert f"\n\n### {section.title}\n\n" in text
        for sheet in section.sheets:
            assert f"\n\n| {' | '.join(' '.join(head.split()) for head in sheet.heads)} |\n| --- |" in text
            for row in sheet.rows:
                assert f"\n| {' | '.join(row)} |\n" in text
        for note in section.notes:
            assert f"\n- **{note.heading}:** {note.sentence}\n" in text


def test_the_tables_of_other_methods_and_the_published_rows_follow(report: Report) -> None:
    by_oracle = build_table(report.view, "oracle")
    text = render_markdown(replace(report, others=(by_oracle,), published=PUBLISHED))
    assert text.startswith(render_markdown(report))
    theirs, ours = text.removeprefix(render_markdown(report)).split("## demo", 1)
    assert theirs.strip() == "### Theirs\n\n| Arm | 0 |\n| --- | --- |\n| GGA | 81.5 |\n\n- **Beware:** of it."
    assert "selected by test-domain oracle" in ours
    assert "- **It peeks:** it chooses by the labels" in ours
