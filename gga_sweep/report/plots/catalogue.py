"""Every plot of a report, with its title and the sentence that says how to read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from matplotlib.figure import Figure

from gga_sweep.report.plots.accuracy import (
    accuracy_by_domain,
    validation_against_hyperparameters,
    validation_against_test,
)
from gga_sweep.report.plots.annealing import alignment_gained, alignment_over_steps
from gga_sweep.report.plots.budget import accuracy_against_draws, accuracy_against_time
from gga_sweep.report.plots.comparison import accuracy_against_alignment, cost_by_phase
from gga_sweep.report.plots.factors import accuracy_against_factors
from gga_sweep.report.plots.losses import loss_over_steps
from gga_sweep.report.plots.svg import figure_to_svg
from gga_sweep.selection import Comparison, SweepView, Table

Source = TypeVar("Source", Table, Comparison)


@dataclass(frozen=True, slots=True)
class Plot(Generic[Source]):
    """A kind of plot, drawn from a sweep and its table or the comparison of its arms.

    Args:
        name: unique, in letters and hyphens: names files and ids.
        title: what it shows.
        caption: one sentence that says how to read it.
        draw: gives the figure, or None where the sweep has nothing to draw.
        nothing: what to say then.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[SweepView, Source], Figure | None]
    nothing: str


@dataclass(frozen=True, slots=True)
class DrawnPlot:
    """A plot's words with its drawing: an `<svg>` element, or None where there was nothing to draw."""

    title: str
    caption: str
    nothing: str
    svg: str | None


ACCURACY_PLOT: Plot[Table] = Plot(
    "accuracy",
    "Accuracy by arm and test domain",
    "Large marks are means of the selected runs with their standard error over trial seeds, small dots the single "
    "trial seeds; a hollow mark is incomplete.",
    accuracy_by_domain,
    "No run could be selected yet.",
)
FACTOR_PLOT: Plot[Table] = Plot(
    "factors",
    "Accuracy of the selected runs against each numeric factor",
    "Marks are means over trial seeds of the mean over test domains, with their 95 % interval (t); the dashed line and "
    "its band are the baseline's. A factor is set and not drawn, so that, unlike the searched hyperparameters, it is "
    "not confounded with any other; selection chooses anew at each of its values.",
    accuracy_against_factors,
    "No numeric factor took several values, or nothing was selected in its arms yet.",
)
PLOTS: tuple[Plot[Table], ...] = (
    Plot(
        "alignment",
        "Alignment of domain gradients over training",
        "Each line is the smallest cosine between the gradients of two training domains, averaged over an arm's runs, "
        "its band reaches from the lowest to the highest trial seed, and the annealed steps are shaded.",
        alignment_over_steps,
        "No run has measured the agreement of its domain gradients yet, or there is one training domain only.",
    ),
    Plot(
        "alignment-gained",
        "Alignment gained by annealing",
        "A gain that the search saw but that vanishes under fresh dropout masks or on the next minibatches was luck; "
        "lines are means over runs, bands reach from the lowest to the highest trial seed.",
        alignment_gained,
        "No step was annealed.",
    ),
    Plot(
        "loss",
        "Loss over training",
        "Means over an arm's runs that came so far, the loss axis logarithmic; bands reach from the lowest to the "
        "highest trial seed.",
        loss_over_steps,
        "No final run has been evaluated yet.",
    ),
    Plot(
        "validation-test",
        "Validation against test accuracy",
        "Each mark is a run at its best validation step, the selected ones are ringed; if marks do not rise to the "
        "right, validation tells little about that test domain.",
        validation_against_test,
        "No run has a finite validation accuracy yet.",
    ),
    Plot(
        "hyperparameters",
        "Validation accuracy against each searched hyperparameter",
        "Each mark is a run at its best validation step, the selected ones are ringed; where several hyperparameters "
        "vary they vary together, so no panel shows the effect of one alone.",
        validation_against_hyperparameters,
        "No hyperparameter took more than one value.",
    ),
)


GAIN_PLOT: Plot[Comparison] = Plot(
    "gain-accuracy",
    "Alignment gained against accuracy gained",
    "Each mark is a trial seed of an arm's selected runs, with its number: alignment gained under fresh dropout masks, "
    "and accuracy against the baseline; if marks do not rise to the right, more alignment did not bring more accuracy. "
    "r is the correlation over an arm's trial seeds.",
    accuracy_against_alignment,
    "No selected run both searched and has a baseline to compare with.",
)
COST_PLOT: Plot[Comparison] = Plot(
    "cost",
    "Device time by arm",
    "What the time was spent on: in total over all runs, whatever became of them, and on average over the done ones.",
    cost_by_phase,
    "No run has taken any time yet.",
)
BUDGET_PLOTS: tuple[Plot[Comparison], ...] = (
    Plot(
        "budget-draws",
        "Accuracy against draws",
        "The selected run's expected accuracy, had there been fewer draws; where a line still rises at its end, more "
        "draws would have helped. Bands are 95 % intervals over trial seeds (t).",
        accuracy_against_draws,
        "No arm chose among several draws.",
    ),
    Plot(
        "budget-time",
        "Accuracy against device time",
        "The same against what the draws of a cell cost: an arm whose runs take longer affords fewer draws in the same "
        "time.",
        accuracy_against_time,
        "No arm chose among several draws, or no time is known.",
    ),
)


def draw(plot: Plot[Source], view: SweepView, source: Source) -> DrawnPlot:
    """The plot of this sweep."""
    figure = plot.draw(view, source)
    svg = None if figure is None else figure_to_svg(figure, plot.name, plot.title)
    return DrawnPlot(plot.title, plot.caption, plot.nothing, svg)
