"""Quantities over training steps: losses, the agreement of domain gradients, and gains of annealed steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gga_sweep.records import FINAL, AnnealedStep, RunRecords, ValidationRecord
from gga_sweep.report.plots.style import (
    INK,
    LINES,
    MUTED,
    RULE,
    band_opacity,
    draw_line,
    house_style,
    legend_columns,
    line_legend,
    new_figure,
    new_panels,
)
from gga_sweep.selection import SweepView, Table
from gga_sweep.selection.tested import score_on_test_domains

Points = Callable[[RunRecords], Iterable[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class Curve:
    """One arm over steps; all of the same length.

    Args:
        steps: ascending.
        center: mean over trial seeds of the mean over a trial seed's runs.
        low, high: the lowest and the highest trial seed's mean.
    """

    steps: tuple[int, ...]
    center: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def curve_over_seeds(runs: Iterable[RunRecords], points: Points) -> Curve:
    """Average the (step, value) pairs of each run, first within a trial seed, then over trial seeds; NaN is ignored."""
    gathered: dict[int, dict[int, list[float]]] = {}  # step -> trial seed -> values
    for run in runs:
        for step, value in points(run):
            if math.isfinite(value):
                gathered.setdefault(step, {}).setdefault(run.cell.trial_seed, []).append(value)
    steps = tuple(sorted(gathered))
    means = [[fmean(values) for values in gathered[step].values()] for step in steps]
    return Curve(
        steps=steps,
        center=tuple(fmean(seeds) for seeds in means),
        low=tuple(min(seeds) for seeds in means),
        high=tuple(max(seeds) for seeds in means),
    )


def accuracy_over_steps(view: SweepView, table: Table) -> Figure | None:
    """Validation and test scores of the selected runs, a panel each, arm by arm. None if no run was selected.

    Test domains that were evaluated at some steps only have no panel: a mean over the runs that happen to have the step
    would be of other runs at every step.
    """
    selected = {(one.cell, one.key) for one in table.selected}
    runs = {arm: [run for run in mine if (run.cell, run.key) in selected] for arm, mine in final_runs(view).items()}
    tested = all(record.test.domains for mine in runs.values() for run in mine for record in run.records)
    figure = _over_steps(view, runs, _scores(view.metric)[: 1 + tested], f"{table.metric_label} (%)")
    for axes in figure.axes if figure else ():
        _show_second_half(axes)
    return figure


def alignment_over_steps(view: SweepView, table: Table) -> Figure | None:
    """Smallest cosine between the gradients of two training domains, arm by arm; the annealed steps shaded.

    None if no run measured it: a single training domain has no pair, and `training.evaluate: selection` measures none.
    """
    return _over_steps(view, final_runs(view), (("", _minimum_agreement),), "smallest gradient cosine")


def alignment_gained(view: SweepView, table: Table) -> Figure | None:
    """Alignment after minus before each annealed step, a panel an annealed arm. None if no step was annealed."""
    runs = {arm: mine for arm, mine in final_runs(view).items() if any(run.searches for run in mine)}
    if not runs:
        return None
    labels = [label for label, _ in _GAINS]
    with house_style():
        figure, panels = new_panels([*runs], labels, sharey=False)
        for axes, (arm, mine) in zip(panels, runs.items(), strict=True):
            axes.axhline(0, color=MUTED, linewidth=0.7)
            for (label, points), line in zip(_GAINS, LINES, strict=False):
                curve = curve_over_seeds(mine, points)
                title = f"{arm}, {label}"
                draw_line(
                    axes, curve.steps, curve.center, curve.low, curve.high, view.arms.index(arm), title, line=line
                )
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        figure.supxlabel("annealed step", fontsize=9)
        figure.supylabel("alignment gained (cosine)", fontsize=9)
        handles = [Line2D([], [], color=INK, linestyle=line) for line in LINES[: len(labels)]]
        figure.legend(handles, labels, loc="outside upper left", ncols=legend_columns(labels))
    return figure


def annealing_window(runs: Sequence[RunRecords]) -> tuple[int, int] | None:
    """First and last step annealed by any of the runs; None if none was."""
    steps = [step.step for run in runs for step in run.searches]
    return (min(steps), max(steps)) if steps else None


def final_runs(view: SweepView) -> dict[str, list[RunRecords]]:
    """By arm, in the order of the arms."""
    return {
        arm: [run for run in view.records if run.cell.arm == arm and run.status in FINAL] for arm in view.trained_arms
    }


def _minimum_agreement(run: RunRecords) -> Iterator[tuple[int, float]]:
    agreements = ((record.step, record.validation.agreement) for record in run.records)
    return ((step, agreement.minimum) for step, agreement in agreements if agreement is not None)


def _over_searches(gain: Callable[[AnnealedStep], float | None]) -> Points:
    return lambda run: ((step.step, found) for step in run.searches if (found := gain(step)) is not None)


_GAINS = (
    ("as scored", _over_searches(lambda step: step.gain)),
    ("fresh dropout masks", _over_searches(lambda step: step.fresh_gain)),
    ("next minibatches", _over_searches(lambda step: step.next_gain)),
)


def loss_over_steps(view: SweepView, table: Table) -> Figure | None:
    """Validation loss and loss on the minibatches, a panel each, arm by arm. None if no final run was evaluated."""
    figure = _over_steps(view, final_runs(view), _LOSSES, "loss (nats)")
    for axes in figure.axes if figure else ():
        _scale_logarithmically(axes)
    return figure


def _over_steps(
    view: SweepView,
    runs: Mapping[str, Sequence[RunRecords]],
    panels: Sequence[tuple[str, Points]],
    label: str,
) -> Figure | None:
    """A panel a quantity, a line an arm, the annealed steps shaded; None if no run has any of them."""
    curves = [{arm: curve_over_seeds(mine, points) for arm, mine in runs.items()} for _, points in panels]
    if not any(curve.steps for of_panel in curves for curve in of_panel.values()):
        return None
    with house_style():
        figure = new_figure(1.0 + 2.1 * len(panels), view.arms)
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False).ravel().tolist()
        for axes, (title, _), of_panel in zip(grid, panels, curves, strict=True):
            axes.set_title(title)
            for start, end in sorted({window for mine in runs.values() if (window := annealing_window(mine))}):
                axes.axvspan(start - 0.5, end + 0.5, color=RULE, linewidth=0, alpha=0.6, zorder=0)
            for arm, curve in of_panel.items():
                band = band_opacity(len(of_panel))
                draw_line(axes, curve.steps, curve.center, curve.low, curve.high, view.arms.index(arm), arm, band=band)
        grid[-1].set_xlabel("step")
        grid[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        figure.supylabel(label, fontsize=9)
        line_legend(figure, view.arms)
    return figure


def _over_records(loss: Callable[[ValidationRecord], float]) -> Points:
    return lambda run: ((record.step, loss(record.validation)) for record in run.records)


_LOSSES = (
    ("validation splits of the training domains", _over_records(lambda record: record.loss)),
    ("minibatches of the step", _over_records(lambda record: record.batch_loss)),
)


def _scores(metric: str) -> tuple[tuple[str, Points], ...]:
    def on_validation(run: RunRecords) -> Iterator[tuple[int, float]]:
        return ((step, 100 * mean) for step, mean in run.validation_means(metric))

    def on_tests(run: RunRecords) -> Iterator[tuple[int, float]]:
        return ((record.step, 100 * score_on_test_domains(record, run.cell, metric)) for record in run.records)

    return (
        ("validation splits of the training domains", on_validation),
        ("test domains (selection never sees these)", on_tests),
    )


def _show_second_half(axes: Axes) -> None:
    """Limit the axis to the values of the second half of training: next to the first steps, arms look alike."""
    bands = [path.vertices for band in axes.collections for path in band.get_paths()]
    points = np.concatenate([*bands, *(line.get_xydata() for line in axes.lines)])
    late = points[points[:, 0] >= points[:, 0].max() / 2, 1]
    margin = 0.05 * float(np.ptp(late)) + 0.5
    axes.set_ylim(late.min() - margin, late.max() + margin)


def _scale_logarithmically(axes: Axes) -> None:
    """Late differences are small beside the first steps; a loss below zero keeps its linear axis."""
    if axes.dataLim.ymin <= 0:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
