"""Axes for the values that hyperparameters take: linear, logarithmic, or words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gga_sweep.records import Scalar

_LOG_FROM = 4.0  # a positive range whose ends differ by this factor is drawn on a logarithmic axis
_DECADES = 50.0  # and from this factor on, its ticks are powers of ten alone
_FEW = 6  # up to this number of distinct short values, each has its own tick
_TICK_LENGTH = 5


def set_scale(axes: Axes, values: Sequence[Scalar], *, log: bool = False) -> Callable[[Scalar, float], float]:
    """Set the scale of the axis that suits its values.

    Args:
        values: all that are drawn.
        log: whether they were drawn from a logarithmic distribution; else their range decides.

    Returns:
        The position of a value on the axis, moved by a share of the distance to its neighbour: with few values, arms
        are drawn side by side, so that they do not hide each other.
    """
    if any(isinstance(value, str | bool) for value in values):
        words = sorted({str(value) for value in values})
        axes.set_xticks(range(len(words)), labels=words)
        axes.set_xlim(-0.6, len(words) - 0.4)
        return lambda value, lane: words.index(str(value)) + lane
    numbers = sorted({float(value) for value in values})
    few, log = len(numbers) <= _FEW, (log and numbers[0] > 0) or _is_logarithmic(numbers)
    if log and numbers[0] == 0:  # a default of zero beside a range of powers of ten
        axes.set_xscale("symlog", linthresh=numbers[1], linscale=0.4)
    elif log:
        axes.set_xscale("log")
        wide = numbers[-1] / numbers[0] >= _DECADES
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=6))
    if few and all(len(_short(number)) <= _TICK_LENGTH for number in numbers):
        axes.set_xticks(numbers)
    elif not log:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    if log:
        factor = min(high / low for low, high in pairwise(numbers)) if few and numbers[0] > 0 else 1.0
        return lambda value, lane: float(value) * factor**lane
    gap = min(high - low for low, high in pairwise(numbers)) if few else 0.0
    return lambda value, lane: float(value) + gap * lane


def _is_logarithmic(numbers: Sequence[float]) -> bool:
    """Whether ascending `numbers` need a logarithmic axis; with a zero among them only a wide range does."""
    if numbers[0] == 0:
        return len(numbers) > 2 and numbers[-1] / numbers[1] >= _DECADES
    return numbers[0] > 0 and numbers[-1] / numbers[0] >= _LOG_FROM


def _short(number: float) -> str:
    """As arms are named: "1e-5"."""
    return f"{number:g}".replace("e-0", "e-").replace("e+0", "e")
