"""Accuracy drawn: by arm and test domain, against validation, against each hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gga_sweep.records import FINAL, Cell, RunRecords, Scalar
from gga_sweep.report.style import (
    INK,
    MUTED,
    PAGE,
    arm_color,
    arm_marker,
    house_style,
    legend_columns,
    new_figure,
)
from gga_sweep.report.wording import column_heads
from gga_sweep.selection import Entry, SweepView, Table, domain_label
from gga_sweep.selection.table import accuracy_on_test_domains
from gga_sweep.selection.training_validation import BestStep, best_step

_LOG_FROM = 4.0  # a positive range whose ends differ by this factor is drawn on a logarithmic axis
_DECADES = 50.0  # and from this factor on, its ticks are powers of ten alone
_FEW = 6  # up to so many distinct values that are short to write, each gets its own tick
_TICK_LENGTH = 5


def accuracy_by_domain(view: SweepView, table: Table) -> Figure | None:
    """Mean and standard error of each arm on each test domain and on average; trial seeds as small dots.

    None if no run was selected.
    """
    if not table.selected:
        return None
    heads, arms = column_heads(table), len(table.rows)
    with house_style():
        figure = new_figure(0.55 + len(heads) * (0.18 + 0.17 * arms), view.arms)
        axes = figure.subplots()
        for i, row in enumerate(table.rows):
            for j, entry in enumerate((*row.entries, row.average)):
                _draw_entry(axes, entry, _lane(j, i, arms), i)
        axes.set_yticks(range(len(heads)), labels=heads)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.axhline(len(heads) - 1.5, color=MUTED, linewidth=0.7)
        axes.set_ylim(len(heads) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("accuracy on the test domain (%)")
        _legend(figure, view, view.arms)
    return figure


def validation_against_test(view: SweepView, table: Table) -> Figure | None:
    """Each run at its best validation step, a panel a test domain; selected runs ringed. None without such a run."""
    points = [(run, best) for run, best in _best_steps(view) if math.isfinite(_test_accuracy(run, best))]
    if not points:
        return None
    selected = _selected(table)
    with house_style():
        titles = [f"test {domain_label(column)}" for column in table.columns]
        figure, panels = _panels(titles, _labels(view), sharex=True)
        for axes, column in zip(panels, table.columns, strict=True):
            for i, arm in enumerate(view.arms):
                here = [(run, best) for run, best in points if run.cell.arm == arm and run.cell.test_domains == column]
                x = [100 * best.accuracy for _, best in here]
                y = [100 * _test_accuracy(run, best) for run, best in here]
                _scatter(axes, x, y, [(run.cell, run.key) in selected for run, _ in here], i)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        figure.supxlabel("validation accuracy on the training domains (%)", fontsize=9)
        figure.supylabel("accuracy on the test domain (%)", fontsize=9)
        _legend(figure, view, _labels(view))
    return figure


def validation_against_hyperparameters(view: SweepView, table: Table) -> Figure | None:
    """Validation accuracy of each run at its best step against each hyperparameter that took several values.

    None if none did.
    """
    points = _best_steps(view)
    names = searched_hyperparameters([run for run, _ in points])
    if not names:
        return None
    selected = _selected(table)
    with house_style():
        figure, panels = _panels(names, _labels(view))
        for axes, name in zip(panels, names, strict=True):
            here = [(run, best) for run, best in points if name in run.hyperparameters]
            place = _set_scale(axes, [run.hyperparameters[name] for run, _ in here])
            arms = [i for i, arm in enumerate(view.arms) if any(run.cell.arm == arm for run, _ in here)]
            for lane, i in enumerate(arms):
                mine = [(run, best) for run, best in here if run.cell.arm == view.arms[i]]
                x = [place(run.hyperparameters[name], _lane(0, lane, len(arms))) for run, _ in mine]
                y = [100 * best.accuracy for _, best in mine]
                _scatter(axes, x, y, [(run.cell, run.key) in selected for run, _ in mine], i)
        figure.supxlabel("value (all vary together: their effects are confounded)", fontsize=9)
        figure.supylabel("validation accuracy (%)", fontsize=9)
        _legend(figure, view, _labels(view))
    return figure


def searched_hyperparameters(runs: Sequence[RunRecords]) -> list[str]:
    """Names that took more than one value over the runs that have them, in alphabetical order."""
    values: dict[str, set[Scalar]] = {}
    for run in runs:
        for name, value in run.hyperparameters.items():
            values.setdefault(name, set()).add(value)
    return sorted(name for name, taken in values.items() if len(taken) > 1)


def _draw_entry(axes: Axes, entry: Entry, y: float, arm: int) -> None:
    """Hollow where the entry is incomplete."""
    color = arm_color(arm)
    seeds = [100 * value for value in entry.values if math.isfinite(value)]
    axes.plot(seeds, [y] * len(seeds), linestyle="", marker="o", markersize=3, color=color, alpha=0.6, mew=0)
    if entry.n:
        axes.errorbar(
            [100 * entry.mean],
            [y],
            xerr=[100 * entry.standard_error] if math.isfinite(entry.standard_error) else None,
            color=color,
            marker=arm_marker(arm),
            markersize=5.5,
            markerfacecolor=PAGE if entry.incomplete else color,
            elinewidth=1.4,
            capsize=0,
        )


def _lane(group: int, index: int, lanes: int) -> float:
    """Where arm `index` stands within its group, groups one apart."""
    return group + 0.7 * ((index + 0.5) / lanes - 0.5)


def _scatter(axes: Axes, x: list[float], y: list[float], selected: list[bool], arm: int) -> None:
    color, marker = arm_color(arm), arm_marker(arm)
    axes.plot(x, y, linestyle="", marker=marker, markersize=4, color=color, alpha=0.6, markeredgewidth=0)
    chosen = [(a, b) for a, b, is_selected in zip(x, y, selected, strict=True) if is_selected]
    axes.plot(
        [a for a, _ in chosen],
        [b for _, b in chosen],
        linestyle="",
        marker=marker,
        markersize=7,
        markerfacecolor="none",
        markeredgecolor=INK,
        markeredgewidth=0.9,
    )


def _panels(titles: Sequence[str], labels: Sequence[str], *, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    """Small panels of one height axis, two a row, titled; a surplus one is removed."""
    columns = min(2, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure = new_figure(0.5 + rows * (1.9 if columns == 2 else 2.5), labels)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=True).ravel().tolist()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title)
    for surplus in grid[len(titles) :]:
        surplus.remove()
    for axes in grid[len(titles) - columns : len(titles)]:
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, grid[: len(titles)]


def _set_scale(axes: Axes, values: Sequence[Scalar]) -> Callable[[Scalar, float], float]:
    """Give the axis the scale its values ask for.

    Returns:
        Where a value stands on it, moved by a share of the room to its neighbour: arms stand side by side where values
        are few, so that they do not hide each other.
    """
    if any(isinstance(value, str | bool) for value in values):
        words = sorted({str(value) for value in values})
        axes.set_xticks(range(len(words)), labels=words)
        axes.set_xlim(-0.6, len(words) - 0.4)
        return lambda value, lane: words.index(str(value)) + lane
    numbers = sorted({float(value) for value in values})
    few, log = len(numbers) <= _FEW, _is_logarithmic(numbers)
    if log and numbers[0] == 0:  # a default of zero beside a range of powers of ten
        axes.set_xscale("symlog", linthresh=numbers[1], linscale=0.4)
    elif log:
        axes.set_xscale("log")
        wide = numbers[-1] / numbers[0] >= _DECADES
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=6))
    if few and all(len(f"{number:g}") <= _TICK_LENGTH for number in numbers):
        axes.set_xticks(numbers)
    elif not log:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if log:
        factor = min(high / low for low, high in pairwise(numbers)) if few and numbers[0] > 0 else 1.0
        return lambda value, lane: float(value) * factor**lane
    gap = min(high - low for low, high in pairwise(numbers)) if few else 0.0
    return lambda value, lane: float(value) + gap * lane


def _is_logarithmic(numbers: Sequence[float]) -> bool:
    """Whether ascending `numbers` ask for a logarithmic axis; with a zero among them only a wide range does."""
    if numbers[0] == 0:
        return len(numbers) > 2 and numbers[-1] / numbers[1] >= _DECADES
    return numbers[0] > 0 and numbers[-1] / numbers[0] >= _LOG_FROM


def _best_steps(view: SweepView) -> list[tuple[RunRecords, BestStep]]:
    """Every run that could be selected, with its best validation step."""
    final = [run for run in view.records if run.status in FINAL]
    found = [(run, best_step(record.validation for record in run.records)) for run in final]
    return [(run, best) for run, best in found if best is not None]


def _test_accuracy(run: RunRecords, best: BestStep) -> float:
    record = next(record for record in run.records if record.step == best.step)
    return accuracy_on_test_domains(record, run.cell)


def _selected(table: Table) -> set[tuple[Cell, str]]:
    return {(one.cell, one.key) for one in table.selected}


def _labels(view: SweepView) -> list[str]:
    """Of the legend where selected runs are ringed."""
    return [*view.arms, "selected"]


def _legend(figure: Figure, view: SweepView, labels: Sequence[str]) -> None:
    """Arms by their marks; a further label is that of the ring."""
    handles = [
        Line2D([], [], linestyle="", marker=arm_marker(i), markersize=5.5, color=arm_color(i))
        for i in range(len(view.arms))
    ]
    ring = Line2D([], [], linestyle="", marker="o", markersize=7, markerfacecolor="none", markeredgecolor=INK)
    figure.legend([*handles, ring][: len(labels)], labels, loc="outside upper left", ncols=legend_columns(labels))
