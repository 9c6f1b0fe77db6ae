"""No name becomes markup, asked of a parser of Markdown."""

from __future__ import annotations

from collections import Counter
from functools import cache

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # comes with rich
from named_report import MARKUP, named

from gga_sweep.report.markdown import render_markdown

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


@settings(max_examples=25, deadline=None)
@given(NAMES)
@example("---")
@example("1. y")
def test_a_name_is_text_whatever_stands_in_it(name: str) -> None:
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
