"""Figures as SVG inside a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl

from gga_sweep.report.plots.style import (
    ARM_COLORS_DARK,
    ARM_COLORS_LIGHT,
    arm_color,
    arm_marker,
    drop_arm_legend,
    house_style,
    line_legend,
    mark_arm,
    new_figure,
)
from gga_sweep.report.plots.svg import figure_to_svg


def drawing(name: str = "one", title: str = "title", *, color: str | None = None) -> str:
    with house_style():
        figure = new_figure(2.0)
        axes = figure.subplots()
        axes.plot([1, 2, 3], [1, 3, 2], marker="o", color=color or arm_color(0))
        axes.set_title(title)
    return figure_to_svg(figure, name, "a line")


def test_the_same_figure_gives_the_same_text() -> None:
    assert drawing() == drawing()


def test_every_id_carries_the_name_and_every_reference_finds_its_id() -> None:
    root = ET.fromstring(drawing("first"))
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    referred = {
        found for element in root.iter() for v in element.attrib.values() for found in re.findall(r"#(\w[\w-]+)", v)
    }
    assert ids
    assert all(name.startswith("first-") for name in ids)
    assert len(ids) == len(set(ids))
    assert {name for name in referred if not re.fullmatch(r"[0-9a-f]{6}", name)} == set(ids)


def test_two_names_share_no_id() -> None:
    first, second = (set(re.findall(r' id="([^"]+)"', drawing(name))) for name in ("one", "two"))
    assert first
    assert not first & second


def test_colours_follow_the_page() -> None:
    svg = drawing()
    assert "fill: currentColor" in svg
    assert f"stroke: var(--arm-0, {ARM_COLORS_LIGHT[0]})" in svg
    assert "var(--muted, #6b6b6b)" in svg
    assert "#010203" not in svg


def test_a_drawing_changes_nothing_else_on_the_page_and_loads_nothing() -> None:
    svg = drawing()
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert set(re.findall(r"https?://[^\"' ]+", svg)) == {"http://www.w3.org/2000/svg"}


def test_names_are_escaped_and_never_read_as_mathematics() -> None:
    title = '<script>$x_{$ & id="q" url(#z)'
    svg = drawing(title=title)
    assert "<script" not in svg
    assert title in {text.text for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}


def test_it_scales_and_describes_itself() -> None:
    root = ET.fromstring(drawing())
    assert "width" not in root.attrib
    assert root.attrib["viewBox"].startswith("0 0 ")
    assert (root.attrib["role"], root.attrib["aria-label"]) == ("img", "a line")


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    drawing()
    assert dict(mpl.rcParams) == before


def test_settings_of_the_user_change_nothing() -> None:
    expected = drawing()
    with mpl.rc_context({"font.size": 30, "axes.grid": False, "text.parse_math": True}):
        assert drawing() == expected


def _contrast(first: str, second: str) -> float:
    """WCAG 2 contrast ratio."""

    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_every_colour_contrasts_with_its_page() -> None:
    assert min(_contrast(color, "#ffffff") for color in ARM_COLORS_LIGHT) >= 3
    assert min(_contrast(color, "#15181c") for color in ARM_COLORS_DARK) >= 3


def test_twelve_arms_have_a_colour_each_and_forty_a_pair_of_colour_and_shape() -> None:
    assert len({arm_color(i) for i in range(12)}) == len({*ARM_COLORS_DARK}) == 12
    assert len({(arm_color(i), arm_marker(i)) for i in range(84)}) == 84


def test_what_is_drawn_of_an_arm_is_named() -> None:
    with house_style():
        figure = new_figure(2.0, ["one", "two"])
        axes = figure.subplots()
        (line,) = axes.plot([1, 2], [1, 2])
        mark_arm(line, 3, 'a "name" & <more>')
        line_legend(figure, ["one", "two"])
    height = figure.get_figheight()
    drop_arm_legend(figure)
    assert figure.legends == []
    assert figure.get_figheight() < height
    root = ET.fromstring(figure_to_svg(figure, "one", "a line"))
    (marked,) = [element for element in root.iter() if "data-arm" in element.attrib]
    assert marked.attrib["data-arm"] == "3"
    assert marked[0].text == 'a "name" & <more>'
    assert "id" not in marked.attrib
