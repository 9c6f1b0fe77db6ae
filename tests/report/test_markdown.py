"""The report as Markdown."""

from __future__ import annotations

from collections import Counter
from functools import cache

from hypothesis import example, given, settings
from hypothesis import strategies as st
from invented_sweep import invented_report, invented_sweep, whole_report
from markdown_it import MarkdownIt  # comes with rich
from named_report import MARKUP, named

from gga_sweep.report.make_report import Report
from gga_sweep.report.markdown import render_markdown
from gga_sweep.report.wording import entry_in_words

MARKDOWN = (
    *MARKUP,
    "# h",
    "> q",
    "- x",
    "1. y",
    "[a](javascript:alert(1))",
    "![i](x)",
    "<https://e.example>",
    "`c`",
    "**b**",
    "~~s~~",
    "|",
    "\\",
    "---",
    "===",
    "[r]: /u",
    "    code",
    "\n\n",
)
NAMES = st.lists(st.sampled_from(MARKDOWN) | st.text(max_size=2), min_size=1, max_size=4).map("".join).filter(str.strip)


def test_every_arm_is_a_row_of_the_table(report: Report) -> None:
    lines = render_markdown(report).splitlines()
    begin = lines.index("| Arm | 0 | 45 | 75 | Average | Worst | Difference \\[95 %\\] |")
    assert lines[begin + 1] == "| --- | --- | --- | --- | --- | --- | --- |"
    for line, row in zip(lines[begin + 2 :], report.table.rows, strict=False):
        numbers = [entry_in_words(entry).replace("*", "\\*") for entry in (*row.entries, row.average, row.worst)]
        assert line.startswith(f"| {' | '.join([row.arm, *numbers])} | ")


def test_the_verdicts_stand_above_the_table_each_in_a_paragraph(report: Report) -> None:
    section = report.sections[0]
    assert len(section.verdict) == 3
    above = "\n\n".join(["", *section.verdict, "| Arm"])
    assert above in render_markdown(report).replace("\\", "")


def test_every_section_has_its_heading_tables_and_notes_in_order() -> None:
    report = whole_report()
    text = "\n\n" + render_markdown(report).replace("\\", "")
    places = []
    for section in report.sections:
        places.append(text.index(f"\n\n{'##' if section.headline else '###'} {section.title}\n\n"))
        for sheet in section.sheets:
            assert f"\n\n**{sheet.title}**\n\n" in text or not sheet.title
            assert f"\n\n| {' | '.join(' '.join(head.split()) for head in sheet.heads)} |\n| --- |" in text
            for row in sheet.rows:
                assert f"\n| {' | '.join(row)} |\n" in text
        for note in section.notes:
            items = "".join(f"  - {item}\n" for item in note.items)
            assert f"\n- **{note.heading}:** {note.sentence}\n{items}" in text
    assert places == sorted(places)


def test_no_name_becomes_markup() -> None:
    nasty = "a|b *bold* <script>x</script>\n# _head_ [l](u) `c`"
    text = render_markdown(invented_report(invented_sweep(arms=(nasty,))))
    row = r"| a\|b \*bold\* \<script\>x\</script\> \# \_head\_ \[l\](u) \`c\` |"
    assert text.count(row) == 3  # accuracy, budget and cost


@settings(max_examples=25, deadline=None)
@given(NAMES)
@example("---")
@example("1. y")
def test_a_parser_of_markdown_finds_no_markup_in_a_name(name: str) -> None:
    assert markup(name) == plain_markup()


@cache
def plain_markup() -> Counter[str]:
    return markup("plain")


def markup(name: str) -> Counter[str]:
    """How often each element stands in the report, text apart."""
    blocks = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(render_markdown(named(name)))
    found = Counter(block.type for block in blocks)
    for block in blocks:
        found.update(inline.type for inline in block.children or () if inline.type not in ("text", "text_special"))
    return found
