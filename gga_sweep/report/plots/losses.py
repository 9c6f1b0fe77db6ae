"""The losses of training, drawn over steps."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gga_sweep.records import ValidationRecord
from gga_sweep.report.plots.annealing import final_runs
from gga_sweep.report.plots.curves import Points, curve_over_seeds
from gga_sweep.report.plots.lines import draw_line, line_legend
from gga_sweep.report.plots.style import house_style, new_figure
from gga_sweep.selection import SweepView, Table


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
