"""A figure as SVG for a page: its colours follow the page, and its ids are unique."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

from gga_sweep.report.plots.style import ARM_COLORS_LIGHT, ARM_ID, INK, MUTED, PAGE, RULE, house_style

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"#([A-Za-z_][\w-]*)")
_FONT = re.compile(r"font-family: [^;]*")
_DECIMALS = re.compile(r"(\.\d\d)\d+")  # a hundredth of a point is finer than any screen
_UNTURNED = re.compile(r"rotate\(-?0 [^)]*\)")
_NO_TEXT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# Outside the page the variables are undefined, and the colours after the commas are used.
_THEMED = {
    INK: "currentColor",
    MUTED: "var(--muted, #6b6b6b)",
    RULE: "var(--rule, #d9d9d9)",
    PAGE: "var(--page, #ffffff)",
    **{color: f"var(--arm-{i}, {color})" for i, color in enumerate(ARM_COLORS_LIGHT)},
}


def figure_to_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as one `<svg>` element, the same text for the same figure.

    Args:
        figure: drawn in the house style.
        name: unique on its page, in letters, digits and hyphens: it stands in front of every id.
        description: what the drawing shows, for screen readers.
    """
    file = io.StringIO()
    with house_style(salt=name):
        figure.savefig(file, format="svg")
    root = ET.fromstring(printable(file.getvalue()))
    _clean(root)
    _name_arms(root)
    _own_ids(root, name)
    _follow_the_page(root)
    _shorten(root)
    root.attrib.pop("width")
    root.attrib.pop("height")
    root.attrib.pop("version", None)
    root.attrib |= {"role": "img", "aria-label": description, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def printable(text: str) -> str:
    """Text with a replacement character for each that XML or UTF-8 cannot represent."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def _clean(element: ET.Element) -> None:
    """Drop metadata (the date among them), and the style sheet that would apply to the whole page."""
    for child in list(element):
        if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
            element.remove(child)
        else:
            _clean(child)


def _name_arms(root: ET.Element) -> None:
    """Turn the ids of `style.mark_arm` into `data-arm` and a title, which browsers show beside the pointer."""
    for element in list(root.iter()):
        name = element.attrib.get("id", "")
        if name.startswith(ARM_ID):
            del element.attrib["id"]
            element.attrib["data-arm"], _, text = name.removeprefix(ARM_ID).partition(" ")
            title = ET.Element(f"{{{_SVG}}}title")
            title.text = text
            element.insert(0, title)


def _own_ids(root: ET.Element, name: str) -> None:
    """Put `name` in front of the ids that are referred to, and drop the others."""
    referred = {
        found for element in root.iter() for value in element.attrib.values() for found in _REFERENCE.findall(value)
    }
    for element in root.iter():
        if element.attrib.get("id") not in referred:
            element.attrib.pop("id", None)
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.attrib[key] = f"{name}-{value}"
            elif key == _XLINK:
                element.attrib["href"] = f"#{name}-{element.attrib.pop(key)[1:]}"
            elif "url(#" in value:
                element.attrib[key] = value.replace("url(#", f"url(#{name}-")


def _follow_the_page(root: ET.Element) -> None:
    for element in root.iter():
        style = element.attrib.get("style")
        if style is None:
            continue
        for color, themed in _THEMED.items():
            style = style.replace(color, themed)
        element.attrib["style"] = _FONT.sub("font-family: inherit", style)


def _shorten(root: ET.Element) -> None:
    """Remove invisible digits, and rotations by 0 degrees."""
    for element in root.iter():
        for key in ("d", "x", "y", "transform"):
            if key in element.attrib:
                element.attrib[key] = " ".join(_DECIMALS.sub(r"\1", _UNTURNED.sub("", element.attrib[key])).split())
        if element.attrib.get("transform") == "":
            del element.attrib["transform"]
