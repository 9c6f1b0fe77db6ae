"""Quantities over training steps: losses, the agreement of domain gradients, and gains of annealed steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gga_sweep.records import FINAL, AnnealedStep, RunRecords, ValidationRecord
from gga_sweep.report.plots.style import MUTED, RULE, draw_line, house_style, line_legend, new_figure, new_panels
from gga_sweep.selection import SweepView, Table

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


def alignment_over_steps(view: SweepView, table: Table) -> Figure | None:
    """Smallest cosine between the gradients of two training domains, arm by arm; the annealed steps shaded.

    None if no run measured it (a single training domain has no pair).
    """
    runs = final_runs(view)
    curves = [curve_over_seeds(runs[arm], _minimum_agreement) for arm in view.trained_arms]
    if not any(curve.steps for curve in curves):
        return None
    with house_style():
        figure = new_figure(3.2, view.trained_arms)
        axes = figure.subplots()
        for start, end in sorted({window for arm in view.trained_arms if (window := annealing_window(runs[arm]))}):
            axes.axvspan(start - 0.5, end + 0.5, color=RULE, linewidth=0, alpha=0.6, zorder=0)
        for i, curve in enumerate(curves):
            draw_line(axes, curve.steps, curve.center, curve.low, curve.high, i)
        axes.set_xlabel("step")
        axes.set_ylabel("smallest gradient cosine")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        line_legend(figure, view.trained_arms)
    return figure


def alignment_gained(view: SweepView, table: Table) -> Figure | None:
    """Alignment after minus before each annealed step, a panel an annealed arm. None if no step was annealed."""
    runs = {arm: mine for arm, mine in final_runs(view).items() if any(run.searches for run in mine)}
    if not runs:
        return None
    labels = [label for label, _ in _GAINS]
    with house_style():
        figure, panels = new_panels([*runs], labels, sharey=False)
        for axes, mine in zip(panels, runs.values(), strict=True):
            axes.axhline(0, color=MUTED, linewidth=0.7)
            for i, (_, points) in enumerate(_GAINS):
                curve = curve_over_seeds(mine, points)
                draw_line(axes, curve.steps, curve.center, curve.low, curve.high, i)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        figure.supxlabel("annealed step", fontsize=9)
        figure.supylabel("alignment gained (cosine)", fontsize=9)
        line_legend(figure, labels)
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
    return ((record.step, record.validation.agreement.minimum) for record in run.records)


def _over_searches(gain: Callable[[AnnealedStep], float]) -> Points:
    return lambda run: ((step.step, gain(step)) for step in run.searches)


_GAINS = (
    ("as scored", _over_searches(lambda step: step.gain)),
    ("fresh dropout masks", _over_searches(lambda step: step.fresh_gain)),
    ("next minibatches", _over_searches(lambda step: step.next_gain)),
)


def loss_over_steps(view: SweepView, table: Table) -> Figure | None:
    """Validation loss and loss on the minibatches, a panel each, arm by arm. None if no final run was evaluated."""
    runs = final_runs(view)
    if not any(run.records for mine in runs.values() for run in mine):
        return None
    with house_style():
        figure = new_figure(4.6, view.trained_arms)
        panels = figure.subplots(len(_LOSSES), 1, sharex=True).tolist()
        for axes, (title, points) in zip(panels, _LOSSES, strict=True):
            axes.set_title(title)
            for i, arm in enumerate(view.trained_arms):
                curve = curve_over_seeds(runs[arm], points)
                draw_line(axes, curve.steps, curve.center, curve.low, curve.high, i)
            _scale_logarithmically(axes)
        panels[-1].set_xlabel("step")
        panels[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        figure.supylabel("loss (nats)", fontsize=9)
        line_legend(figure, view.trained_arms)
    return figure


def _over_records(loss: Callable[[ValidationRecord], float]) -> Points:
    return lambda run: ((record.step, loss(record.validation)) for record in run.records)


_LOSSES = (
    ("validation splits of the training domains", _over_records(lambda record: record.loss)),
    ("minibatches of the step", _over_records(lambda record: record.batch_loss)),
)


def _scale_logarithmically(axes: Axes) -> None:
    """Late differences are small beside the first steps; a loss below zero keeps its linear axis."""
    if axes.dataLim.ymin <= 0:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
