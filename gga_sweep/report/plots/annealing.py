"""What annealing did, drawn: the agreement of domain gradients over training, and what each annealed step gained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gga_sweep.records import FINAL, AnnealedStep, RunRecords
from gga_sweep.report.plots.curves import Points, curve_over_seeds
from gga_sweep.report.plots.lines import draw_line, line_legend
from gga_sweep.report.plots.panels import new_panels
from gga_sweep.report.plots.style import MUTED, RULE, house_style, new_figure
from gga_sweep.selection import SweepView, Table


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
    ("as the search saw it", _over_searches(lambda step: step.gain)),
    ("fresh dropout masks", _over_searches(lambda step: step.fresh_gain)),
    ("next minibatches", _over_searches(lambda step: step.next_gain)),
)
