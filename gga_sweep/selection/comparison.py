"""Everything in a report beside its table: what each arm gained, what its annealing did, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from gga_sweep.selection.annealing_effect import (
    AlignmentAndScore,
    AnnealingDiagnostics,
    SelectedSteps,
    alignment_and_score,
    annealing_diagnostics,
    selected_steps,
)
from gga_sweep.selection.contrasts import Contrast, matched_contrasts, selected_contrasts
from gga_sweep.selection.cost import Cost, costs
from gga_sweep.selection.expected_best import SearchBudget, search_budgets
from gga_sweep.selection.factor_effects import FactorEffect, factor_effects
from gga_sweep.selection.gains import AlgorithmGain, algorithm_gains
from gga_sweep.selection.table import Table
from gga_sweep.selection.verdict import Verdict, verdicts
from gga_sweep.selection.view import SweepView


@dataclass(frozen=True, slots=True)
class Comparison:
    """A sweep's arms compared; every tuple in the order of the arms.

    Args:
        metric: of which all differences and scores are.
        selected: the headline contrast of every arm that has a baseline.
        verdicts: what follows from each of these.
        matched: the same without search; empty if draws do not match.
        steps: where the selected steps lie, of every arm that searches.
        annealing: what annealing did, of every annealed arm.
        gains: alignment gained beside score gained, of every arm that searches and has a baseline.
        costs: of every arm that is trained.
        budget: the result of fewer draws, of every arm that could choose among several; empty if draws do not match,
            since they then depend on each other.
        algorithms: what annealing adds to each algorithm; empty unless several are annealed beside themselves.
        factors: how far the levels of each factor lie apart, the largest spread first.
    """

    metric: str
    selected: tuple[Contrast, ...]
    verdicts: tuple[Verdict, ...]
    matched: tuple[Contrast, ...]
    steps: tuple[SelectedSteps, ...]
    annealing: tuple[AnnealingDiagnostics, ...]
    gains: tuple[AlignmentAndScore, ...]
    costs: tuple[Cost, ...]
    budget: tuple[SearchBudget, ...]
    algorithms: tuple[AlgorithmGain, ...] = ()
    factors: tuple[FactorEffect, ...] = ()


def compare(view: SweepView, table: Table) -> Comparison:
    """Compare the arms of a sweep.

    Args:
        view: the sweep.
        table: its table, built from `view`; its switches are those of the comparison.

    Raises:
        InputError: an arm or a baseline is not in the view, or an arm is its own baseline.
    """
    selected = selected_contrasts(table, view.baselines)
    return Comparison(
        metric=table.metric,
        selected=selected,
        verdicts=verdicts(selected),
        matched=matched_contrasts(
            view, view.baselines, exclude_diverged=table.exclude_diverged, first_step=table.first_step
        )
        if view.matched_draws
        else (),
        steps=selected_steps(view, table),
        annealing=annealing_diagnostics(view),
        gains=alignment_and_score(view, table, selected),
        costs=costs(view, view.baselines),
        budget=search_budgets(view, table) if view.matched_draws else (),
        algorithms=algorithm_gains(view, table, selected),
        factors=factor_effects(view, table),
    )
