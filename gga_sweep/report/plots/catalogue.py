"""Every plot of a report, with its title and the sentence that says how to read it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from markupsafe import Markup
from matplotlib.figure import Figure

from gga_sweep.errors import Fault, InputError
from gga_sweep.metrics import METRICS
from gga_sweep.report.make_report import Report
from gga_sweep.report.plots.accuracy import (
    accuracy_by_domain,
    validation_against_hyperparameters,
    validation_against_test,
)
from gga_sweep.report.plots.comparison import (
    accuracy_against_alignment,
    accuracy_against_draws,
    accuracy_against_time,
    cost_by_phase,
    difference_against_draws,
    paired_differences,
)
from gga_sweep.report.plots.factors import difference_against_factors
from gga_sweep.report.plots.steps import accuracy_over_steps, alignment_gained, alignment_over_steps, loss_over_steps
from gga_sweep.report.plots.style import drop_arm_legend
from gga_sweep.report.plots.svg import figure_to_svg
from gga_sweep.selection import Comparison, SweepView, Table


@dataclass(frozen=True, slots=True)
class Plot:
    """A kind of plot.

    Args:
        title: what it shows.
        caption: one sentence on how to read it.
        draw: returns the figure, or None without anything to draw.
        nothing: shown in that case; empty: nothing is.
    """

    title: str
    caption: str
    draw: Callable[[Report], Figure | None]
    nothing: str

    def of(self, metric: str) -> Plot:
        """The same with the metric's name in its texts, where `{metric}` or, in front, `{Metric}` stands for it."""
        names = {"metric": METRICS[metric].label, "Metric": METRICS[metric].title}
        texts = (self.title, self.caption, self.nothing)
        title, caption, nothing = (text.format(**names) for text in texts)
        return replace(self, title=title, caption=caption, nothing=nothing)


@dataclass(frozen=True, slots=True, repr=False)
class DrawnPlot:
    """A plot of a sweep. A notebook shows it with its title and caption.

    Args:
        title: what it shows.
        caption: one sentence on how to read it.
        figure: of Matplotlib, for example for `figure.savefig("differences.pdf")`.
    """

    title: str
    caption: str
    figure: Figure

    def __repr__(self) -> str:
        return f"<DrawnPlot: {self.title}>"

    def _repr_html_(self) -> str:
        svg = Markup(figure_to_svg(self.figure, f"plot-{next(_SHOWN)}", self.title))
        page = Markup("<figure style='max-width: 50em'><strong>{}</strong>{}<figcaption>{}</figcaption></figure>")
        return str(page.format(self.title, svg, self.caption))


_SHOWN = itertools.count()
"""Makes the ids in drawings unique: a notebook may show a plot several times."""


def draw_figure(name: str, report: Report) -> DrawnPlot:
    """The plot of this sweep with its legend.

    Args:
        name: in `PLOTS`.

    Raises:
        InputError: an unknown name, or there is nothing to draw.
    """
    if name not in PLOTS:
        raise InputError([Fault("name", "must be a known plot", name, tuple(PLOTS))], "plot")
    plot = PLOTS[name].of(report.table.metric)
    figure = plot.draw(report)
    if figure is None:
        rule = f"cannot be drawn. {plot.nothing or 'No arm has a numeric factor.'}"
        raise InputError([Fault(name, rule)], "plot")
    return DrawnPlot(plot.title, plot.caption, figure)


def draw(name: str, report: Report) -> str | None:
    """The plot of this sweep as an `<svg>` element, without the legend of arms; None without anything to draw.

    Args:
        name: in `PLOTS`; part of the ids in the drawing.
    """
    figure = PLOTS[name].draw(report)
    if figure is None:
        return None
    drop_arm_legend(figure)
    return figure_to_svg(figure, name, PLOTS[name].of(report.table.metric).title)


def _of_table(draw: Callable[[SweepView, Table], Figure | None]) -> Callable[[Report], Figure | None]:
    return lambda report: draw(report.view, report.table)


def _of_comparison(draw: Callable[[SweepView, Comparison], Figure | None]) -> Callable[[Report], Figure | None]:
    return lambda report: draw(report.view, report.comparison)


PLOTS: Mapping[str, Plot] = MappingProxyType(
    {
        "differences": Plot(
            "Paired differences",
            "Large marks are each arm's mean difference to its baseline in points of {metric}, with the 95 % interval "
            "(t over trial seeds; none below three); small dots are single trial seeds. An interval that crosses zero "
            "shows no difference.",
            _of_comparison(paired_differences),
            "No arm and its baseline have a pair of selected runs yet.",
        ),
        "accuracy-steps": Plot(
            "{Metric} over training",
            "Means over the selected runs that reached the step; bands reach from the lowest to the highest trial "
            "seed, and the annealed steps are shaded. The axis shows the range of the second half of training. Test "
            "domains have a panel unless training.evaluate is selection, which evaluates them at few steps.",
            _of_table(accuracy_over_steps),
            "No run could be selected yet.",
        ),
        "accuracy": Plot(
            "{Metric} by arm and test domain",
            "Large marks are means of the selected runs with their standard error over trial seeds, small dots the "
            "single trial seeds; a hollow mark is incomplete.",
            _of_table(accuracy_by_domain),
            "No run could be selected yet.",
        ),
        "gain-accuracy": Plot(
            "Alignment gained against {metric} gained",
            "Each mark is a trial seed of an arm's selected runs, with its number: gain in alignment under fresh "
            "dropout masks, and {metric} minus the baseline's; if marks do not rise to the right, more alignment did "
            "not give a higher {metric}. r is the correlation over an arm's trial seeds.",
            _of_comparison(accuracy_against_alignment),
            "No selected run both searched and has a baseline to compare with.",
        ),
        "budget-differences": Plot(
            "Difference to the baseline against draws",
            "The expected paired difference, had both arms had fewer draws; bands are 95 % intervals (t over trial "
            "seeds; none below three).",
            _of_comparison(difference_against_draws),
            "No arm and its baseline both chose among several draws.",
        ),
        "budget-draws": Plot(
            "{Metric} against draws",
            "The selected run's expected {metric}, had there been fewer draws; where a line still rises at its end, "
            "more draws would have helped.",
            _of_comparison(accuracy_against_draws),
            "No arm chose among several draws.",
        ),
        "budget-time": Plot(
            "{Metric} against device time",
            "The same against the device time of the draws: an arm whose runs take longer affords fewer draws in the "
            "same time.",
            _of_comparison(accuracy_against_time),
            "No arm chose among several draws, or no time is known.",
        ),
        "cost": Plot(
            "Device time by arm",
            "Device time by phase, in shades: in total over all runs of any status, and on average over the done ones.",
            _of_comparison(cost_by_phase),
            "No run has taken any time yet.",
        ),
        "factors": Plot(
            "Paired difference against each numeric factor",
            "Marks are each arm's difference to its baseline ({metric} where it has none), with the 95 % interval (t "
            "over trial seeds; none below three). A factor is set and not drawn, so it is not confounded with any "
            "other; selection chooses again at each of its values.",
            lambda report: difference_against_factors(report.view, report.table, report.comparison),
            "",
        ),
        "alignment": Plot(
            "Alignment of domain gradients over training",
            "Each line is the smallest cosine between the gradients of two training domains, averaged over an arm's "
            "runs, its band reaches from the lowest to the highest trial seed, and the annealed steps are shaded.",
            _of_table(alignment_over_steps),
            "No run has measured the agreement of its domain gradients yet (training.evaluate: selection measures "
            "none), or there is one training domain only.",
        ),
        "alignment-gained": Plot(
            "Alignment gained by annealing",
            "A gain that vanishes under fresh dropout masks or on the next minibatches is not real; these two are "
            "measured at diagnosed steps (annealing.diagnose_every). Lines are means over runs, bands reach from the "
            "lowest to the highest trial seed.",
            _of_table(alignment_gained),
            "No step was annealed.",
        ),
        "loss": Plot(
            "Loss over training",
            "Means over an arm's runs that reached the step, the loss axis logarithmic; bands reach from the lowest to "
            "the highest trial seed.",
            _of_table(loss_over_steps),
            "No final run has been evaluated yet.",
        ),
        "validation-test": Plot(
            "Validation against test {metric}",
            "Each mark is a run at its best validation step, the selected ones are ringed; if marks do not rise to the "
            "right, validation does not predict the {metric} on that test domain.",
            _of_table(validation_against_test),
            "No run has a finite validation {metric} yet.",
        ),
        "hyperparameters": Plot(
            "Validation {metric} against each searched hyperparameter",
            "Each mark is a run at its best validation step, the selected ones are ringed; where several "
            "hyperparameters vary they vary together, so no panel shows the effect of a single one.",
            _of_table(validation_against_hyperparameters),
            "No hyperparameter took more than one value.",
        ),
    }
)
"""By name, as in `document.Section.plots` and the page."""
