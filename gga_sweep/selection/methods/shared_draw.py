"""One draw for all test domains: that with the highest validation score on average over them. It leaks.

A run counts with its validation score at its best step (`training_validation`); of an arm and trial seed the draw
with the highest mean over test domains is chosen, each of its runs at its own best step. A draw takes part if it has
such a run for every test domain. Ties go to the highest draw number; means that are equal to twelve digits are tied,
since the same scores summed in two orders differ in the last digit.

A test domain is a training domain of its neighbours, so its labels help to choose the hyperparameters it is tested
with: the numbers are for the protocol that shares hyperparameters, and not comparable with the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from gga_sweep.records import FINAL, Cell
from gga_sweep.selection.choice import Contender
from gga_sweep.selection.declaration import Contenders, Method, Reasons
from gga_sweep.selection.methods.training_validation import judge_by_validation
from gga_sweep.selection.view import SweepView, domain_label


def by_mean_over_test_domains(contenders: Contenders) -> dict[Cell, list[Contender]]:
    """Of each arm and trial seed the draws that can be selected in all of its cells, compared by their mean."""
    groups: dict[tuple[str, str, int], dict[Cell, dict[int, Contender]]] = {}
    for cell, runs in contenders.items():
        group = groups.setdefault((cell.dataset, cell.arm, cell.trial_seed), {})
        group[cell] = {run.draw: run for run in runs}
    compared: dict[Cell, list[Contender]] = {}
    for group in groups.values():
        draws = set.intersection(*map(set, group.values()))
        means = {draw: _mean(of_cell[draw].best.score for of_cell in group.values()) for draw in draws}
        for cell, of_cell in group.items():
            compared[cell] = [replace(of_cell[draw], judged=mean) for draw, mean in means.items()]
    return compared


def _mean(scores: Iterable[float]) -> float:
    values = [*scores]
    return round(math.fsum(values) / len(values), 12)


def _reasons(view: SweepView) -> Callable[[Cell], Reasons]:
    """What other test domains lack of the draws that have a final run in the cell, and so cannot be shared."""
    runs = view.by_cell()

    def reasons(cell: Cell) -> Reasons:
        final = {draw for run in runs.get(cell, ()) if run.status in FINAL for draw in run.draws}
        for test_domains in view.test_domains:
            if test_domains == cell.test_domains:
                continue
            other = replace(cell, test_domains=test_domains)
            for why, draws in view.not_final(other, runs.get(other, ())).items():
                if draws & final:
                    yield f"{domain_label(test_domains)} {why}", draws & final

    return reasons


METHOD = Method(
    name="shared-draw",
    label="training-domain validation, one draw for all test domains",
    rule="of each run the step with the highest validation {metric}, of each arm and trial seed the draw with "
    "the highest mean of these over all test domains",
    lacking="a draw that can be selected on every test domain",
    judge=judge_by_validation,
    compare=by_mean_over_test_domains,
    reasons=_reasons,
    one_draw=True,
    peeks="a test domain is a training domain of its neighbours, so its labels help to choose the "
    "hyperparameters it is tested with",
)
