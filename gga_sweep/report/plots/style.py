"""The house style of plots: matplotlib settings, figures and panels, colours, marks, lines with bands and legends."""

from __future__ import annotations

import math
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

Line = Literal["-", "--", "-."] | tuple[int, tuple[float, ...]]

# Far apart for normal sight and all kinds of colour blindness, at a contrast of 3 or more; markers differ too.
ARM_COLORS_LIGHT = (
    *("#2b4fbe", "#e8402f", "#2f948d", "#a57c14", "#22781c", "#c049fe"),
    *("#931e7b", "#6c4a02", "#7f1ae2", "#344b63", "#84687f", "#a084d4"),
)
ARM_COLORS_DARK = (
    *("#73bafd", "#f0592b", "#5afdcf", "#f9c546", "#43c018", "#e40cab"),
    *("#ff7fd0", "#a09a77", "#9b80fe", "#2a8bc2", "#ab30e9", "#d6bddc"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Line, ...] = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 3)))

# Placeholders, which `svg.py` replaces by colours of the page, so that one drawing serves light and dark.
INK = "#010203"
MUTED = "#6a6b6c"
RULE = "#d9dadb"
PAGE = "#fdfefe"

ARM_ID = "arm:"
"""Begins the ids of what is drawn of an arm: its number and a title follow."""

WIDTH = 4.7  # inches; 338 points: a phone's width, so that text stays readable there
_TITLE = 30  # characters of a line above a panel of half the width
_LINE = 0.17  # inches of a line of a legend
_ARMS = "arms"  # marks the legends of arms
_FEW = 3  # arms whose bands can overlap and remain distinguishable
_MARKED = 24  # a line with up to this number of points has markers
_SETTINGS: dict[RcKeyType, object] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.formatter.use_mathtext": False,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.borderpad": 0,
    "legend.columnspacing": 1.4,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name does not start a formula
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "xtick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
    "ytick.major.size": 3,
    "ytick.minor.size": 0,
}
_SETTINGS_ARE_GLOBAL = threading.RLock()


@contextmanager
def house_style(salt: str | None = None) -> Iterator[None]:
    """Set the house style of matplotlib within the block.

    Args:
        salt: makes the ids of an SVG written inside a function of the drawing and of this text.
    """
    defaults = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")}
    with _SETTINGS_ARE_GLOBAL, mpl.rc_context({**defaults, **_SETTINGS, "svg.hashsalt": salt}):
        yield


def new_figure(height: float, labels: Sequence[str] = ()) -> Figure:
    """An empty figure of the house's width, `height` inches high and the room that a legend of `labels` takes."""
    rows = -(-len(labels) // legend_columns(labels)) if labels else 0
    size = (WIDTH, height + _LINE * rows)
    return Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.07, w_pad=0.04))


def new_panels(
    titles: Sequence[str], labels: Sequence[str], *, sharex: bool = False, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """An empty panel a title; a surplus one is removed.

    Args:
        titles: of the panels, in order; long ones are wrapped and cut.
        labels: of the figure's legend, for which room is left.
        sharex, sharey: whether all panels have the same axis.
    """
    columns = min(2, len(titles))
    rows = math.ceil(len(titles) / columns)
    wrapped = [shorten(title, _TITLE * (3 - columns)) for title in titles]
    lines = max(title.count("\n") + 1 for title in wrapped)
    figure = new_figure(0.5 + rows * ((1.9 if columns == 2 else 2.5) + 0.15 * (lines - 1)), labels)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel().tolist()
    for axes, title in zip(grid, wrapped, strict=False):
        axes.set_title(title)
    for surplus in grid[len(titles) :]:
        surplus.remove()
    for axes in grid[len(titles) - columns : len(titles)]:
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, grid[: len(titles)]


def shorten(name: str, width: int, lines: int = 2) -> str:
    """The name in at most so many lines of `width` characters, cut where it is longer."""
    return textwrap.fill(name, width, max_lines=lines, placeholder="\N{HORIZONTAL ELLIPSIS}")


def arm_color(index: int) -> str:
    return ARM_COLORS_LIGHT[index % len(ARM_COLORS_LIGHT)]


def arm_marker(index: int) -> str:
    """Seven markers to twelve colours: 84 arms before a pair repeats."""
    return MARKERS[index % len(MARKERS)]


def mark_arm(artist: Artist, arm: int, title: str) -> None:
    """Name what is drawn of an arm: a page shows the title beside the pointer, and can highlight or hide the arm."""
    artist.set_gid(f"{ARM_ID}{arm} {title}")


def arm_line(index: int) -> Line:
    return LINES[index % len(LINES)]


def legend_columns(labels: Sequence[str], at_most: int = 4) -> int:
    """How many labels stand side by side at the house's width."""
    marks, room = 6, 60  # in letters
    if len(labels) <= at_most and sum(len(label) + marks for label in labels) <= room:
        return max(1, len(labels))
    longest = max(map(len, labels), default=1)
    return max(1, min(at_most, len(labels), (room - 4) // (longest + marks)))


def band_opacity(lines: int) -> float:
    """Of the bands of so many lines in one panel."""
    return 0.15 if lines <= _FEW else min(0.08, 0.6 / lines)


def draw_line(
    axes: Axes,
    x: Sequence[float],
    center: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    arm: int,
    title: str,
    *,
    band: float = 0.15,
    line: Line | None = None,
) -> None:
    """A line of an arm, and its band, which is missing where `low` and `high` are NaN.

    Args:
        arm: its number, which decides colour and marker.
        title: see `mark_arm`.
        band: its opacity, see `band_opacity`.
        line: style, then without marks; None: the arm's.
    """
    color = arm_color(arm)
    mark_arm(axes.fill_between(x, low, high, color=color, alpha=band, linewidth=0), arm, title)
    shown = arm_marker(arm) if line is None and len(x) <= _MARKED else ""
    (drawn,) = axes.plot(x, center, color=color, linestyle=line or arm_line(arm), marker=shown, markersize=3.5)
    mark_arm(drawn, arm, title)


def line_legend(figure: Figure, arms: Sequence[str]) -> None:
    """Above the figure: the lines and marks of all arms."""
    handles = [
        Line2D([], [], color=arm_color(i), linestyle=arm_line(i), marker=arm_marker(i), markersize=4)
        for i in range(len(arms))
    ]
    arm_legend(figure, handles, arms)


def arm_legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend of arms above the figure, which `drop_arm_legend` can remove."""
    legend = figure.legend(handles, labels, loc="outside upper left", ncols=legend_columns(labels))
    legend.set_gid(_ARMS)


def drop_arm_legend(figure: Figure) -> None:
    """Remove a legend of arms and its room: a page has one legend for all its plots."""
    for legend in figure.legends:
        if legend.get_gid() == _ARMS:
            labels = [text.get_text() for text in legend.get_texts()]
            legend.remove()
            figure.set_figheight(figure.get_figheight() - _LINE * -(-len(labels) // legend_columns(labels)))
