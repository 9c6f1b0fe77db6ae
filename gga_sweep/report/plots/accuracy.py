"""Scores drawn: by arm and test domain, against validation, against each hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gga_sweep.records import FINAL, Cell, RunRecords, Scalar
from gga_sweep.report.plots.scales import set_scale
from gga_sweep.report.plots.style import (
    INK,
    MUTED,
    PAGE,
    arm_color,
    arm_legend,
    arm_marker,
    house_style,
    mark_arm,
    new_figure,
    new_panels,
)
from gga_sweep.report.wording import column_heads, domains_in_words, entry_in_words
from gga_sweep.selection import Entry, SweepView, Table
from gga_sweep.selection.choice import BestStep
from gga_sweep.selection.methods.training_validation import by_validation
from gga_sweep.selection.select import from_step
from gga_sweep.selection.tested import score_on_test_domains


def accuracy_by_domain(view: SweepView, table: Table) -> Figure | None:
    """Mean and standard error of each arm on each test domain and on average; trial seeds as small dots.

    None if no run was selected.
    """
    if not table.selected:
        return None
    heads, arms = column_heads(table), len(table.rows)
    lanes = arms * (0.135 if arms <= 8 else 0.1)  # inches
    group = lanes + 0.25
    with house_style():
        figure = new_figure(0.55 + len(heads) * group, view.arms)
        axes = figure.subplots()
        for i, row in enumerate(table.rows):
            for j, entry in enumerate((*row.entries, row.average)):
                y = _lane(j, i, arms, lanes / group)
                _draw_entry(axes, entry, y, i, f"{row.arm}, {heads[j]}: {entry_in_words(entry)} %")
        axes.set_yticks(range(len(heads)), labels=heads)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.axhline(len(heads) - 1.5, color=MUTED, linewidth=0.7)
        axes.set_ylim(len(heads) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{table.metric_label} on the test domain (%)")
        _legend(figure, view, view.arms)
    return figure


def validation_against_test(view: SweepView, table: Table) -> Figure | None:
    """Each run at its best validation step, a panel a test domain; selected runs ringed. None without such a run."""
    points = [
        (run, best) for run, best in _best_steps(view, table) if math.isfinite(_test_score(run, best, view.metric))
    ]
    if not points:
        return None
    selected = _selected(table)
    with house_style():
        titles = [f"test {domains_in_words(column)}" for column in table.columns]
        figure, panels = new_panels(titles, _labels(view), sharex=True)
        for axes, column in zip(panels, table.columns, strict=True):
            for i, arm in enumerate(view.arms):
                here = [(run, best) for run, best in points if run.cell.arm == arm and run.cell.test_domains == column]
                x = [100 * best.score for _, best in here]
                y = [100 * _test_score(run, best, view.metric) for run, best in here]
                _scatter(axes, x, y, [(run.cell, run.key) in selected for run, _ in here], i, arm)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        figure.supxlabel(f"validation {table.metric_label} on the training domains (%)", fontsize=9)
        figure.supylabel(f"{table.metric_label} on the test domain (%)", fontsize=9)
        _legend(figure, view, _labels(view))
    return figure


def validation_against_hyperparameters(view: SweepView, table: Table) -> Figure | None:
    """Validation score of each run at its best step against each hyperparameter that took several values.

    None if none did.
    """
    points = _best_steps(view, table)
    names = searched_hyperparameters([run for run, _ in points])
    if not names:
        return None
    selected = _selected(table)
    with house_style():
        figure, panels = new_panels(names, _labels(view))
        for axes, name in zip(panels, names, strict=True):
            here = [(run, best) for run, best in points if name in run.hyperparameters]
            place = set_scale(axes, [run.hyperparameters[name] for run, _ in here], log=name in view.log_scaled)
            arms = [i for i, arm in enumerate(view.arms) if any(run.cell.arm == arm for run, _ in here)]
            for lane, i in enumerate(arms):
                mine = [(run, best) for run, best in here if run.cell.arm == view.arms[i]]
                x = [place(run.hyperparameters[name], _lane(0, lane, len(arms))) for run, _ in mine]
                y = [100 * best.score for _, best in mine]
                _scatter(axes, x, y, [(run.cell, run.key) in selected for run, _ in mine], i, view.arms[i])
        confounded = " (all vary together: their effects are confounded)" if len(names) > 1 else ""
        figure.supxlabel(f"value{confounded}", fontsize=9)
        figure.supylabel(f"validation {table.metric_label} (%)", fontsize=9)
        _legend(figure, view, _labels(view))
    return figure


def searched_hyperparameters(runs: Sequence[RunRecords]) -> list[str]:
    """Names that took more than one value over the runs that have them, in alphabetical order."""
    values: dict[str, set[Scalar]] = {}
    for run in runs:
        for name, value in run.hyperparameters.items():
            values.setdefault(name, set()).add(value)
    return sorted(name for name, taken in values.items() if len(taken) > 1)


def _draw_entry(axes: Axes, entry: Entry, y: float, arm: int, title: str) -> None:
    """Hollow where the entry is incomplete."""
    color = arm_color(arm)
    seeds = [100 * value for value in entry.values if math.isfinite(value)]
    (dots,) = axes.plot(seeds, [y] * len(seeds), linestyle="", marker="o", markersize=3, color=color, alpha=0.6, mew=0)
    mark_arm(dots, arm, title)
    if entry.n:
        bar = axes.errorbar(
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
        for artist in bar.get_children():
            mark_arm(artist, arm, title)


def _lane(group: int, index: int, lanes: int, share: float = 0.7) -> float:
    """Where arm `index` stands within its group. Groups are one apart, and take this share of that."""
    return group + share * ((index + 0.5) / lanes - 0.5)


def _scatter(axes: Axes, x: list[float], y: list[float], selected: list[bool], arm: int, name: str) -> None:
    color, marker = arm_color(arm), arm_marker(arm)
    (runs,) = axes.plot(x, y, linestyle="", marker=marker, markersize=4, color=color, alpha=0.6, markeredgewidth=0)
    chosen = [(a, b) for a, b, is_selected in zip(x, y, selected, strict=True) if is_selected]
    (rings,) = axes.plot(
        [a for a, _ in chosen],
        [b for _, b in chosen],
        linestyle="",
        marker=marker,
        markersize=7,
        markerfacecolor="none",
        markeredgecolor=INK,
        markeredgewidth=0.9,
    )
    mark_arm(runs, arm, name)
    mark_arm(rings, arm, f"{name}, selected")


def _best_steps(view: SweepView, table: Table) -> list[tuple[RunRecords, BestStep]]:
    """Every run that could be selected, with its best validation step."""
    final = [from_step(run, table.first_step) for run in view.records if run.status in FINAL]
    found = [(run, by_validation(run, view.metric)) for run in final]
    return [(run, best) for run, best in found if best is not None]


def _test_score(run: RunRecords, best: BestStep, metric: str) -> float:
    return score_on_test_domains(run.record_at(best.step), run.cell, metric)


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
    arm_legend(figure, [*handles, ring][: len(labels)], labels)
