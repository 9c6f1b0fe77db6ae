"""What a selection method declares of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gga_sweep.records import Cell, RunRecords
from gga_sweep.selection.choice import BestStep, Contender
from gga_sweep.selection.view import SweepView

Judge = Callable[[RunRecords], BestStep | None]
"""The step that stands for a run, with the score that the run is compared by; None if it cannot be selected."""

Contenders = Mapping[Cell, Sequence[Contender]]
"""By cell, the runs that can be selected; with an entry for every planned cell."""

Reasons = Iterator[tuple[str, Iterable[int]]]
"""Why draws of a cell cannot be selected: in words, with the draws."""


def _as_judged(contenders: Contenders) -> Contenders:
    return contenders


def _nothing_more(view: SweepView) -> Callable[[Cell], Reasons]:
    return lambda cell: iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to select a run and a step in each cell.

    Args:
        name: as sweep files and commands write it.
        label: its name as printed with a table.
        rule: what it does, in one sentence; `{metric}` stands for the name of the metric.
        lacking: what the final runs of a cell are without if none of them can be selected, likewise.
        judge: makes the judge of a sweep's runs from all that are final, from the first step on that takes part, and
            from the name of the metric.
        compare: sets what the runs are compared by, where that depends on runs of other cells.
        reasons: makes, for a sweep, what gives the reasons of this method why draws of a cell cannot be selected.
        needs_pairs: whether runs are judged by runs with one more test domain, which are then trained too.
        one_draw: whether the cells of an arm and trial seed share one draw.
        reads_tests: the evaluations whose scores on test domains it judges by: "none", the "last" of each run (which
            `training.evaluate: selection` measures if the run is trained to its end), or "every" one.
        peeks: in words, how a test domain influences its own selection; None for a method that never looks.
        may_come_first: whether what it selects may be called selected, in MLflow and in `chosen.yaml`.
    """

    name: str
    label: str
    rule: str
    lacking: str
    judge: Callable[[Sequence[RunRecords], str], Judge]
    compare: Callable[[Contenders], Contenders] = _as_judged
    reasons: Callable[[SweepView], Callable[[Cell], Reasons]] = _nothing_more
    needs_pairs: bool = False
    one_draw: bool = False
    reads_tests: Literal["none", "last", "every"] = "none"
    peeks: str | None = None
    may_come_first: bool = True
