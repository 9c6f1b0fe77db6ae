"""Select one run and one step in each cell, by a named method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gga_sweep.errors import Fault, InputError
from gga_sweep.metrics import DEFAULT_METRIC
from gga_sweep.records import FINAL, Cell, RunRecords, RunStatus
from gga_sweep.selection.choice import Choice, Contender, highest_run
from gga_sweep.selection.declaration import Contenders
from gga_sweep.selection.methods import DEFAULT_METHOD, METHODS
from gga_sweep.selection.view import group_by_cell


@dataclass(frozen=True, slots=True)
class Selected:
    """The run that stands for a cell, at the step that stands for the run.

    Args:
        cell: the cell it was selected in.
        key, folder: of the selected run.
        draw: the highest of its draw numbers.
        step: counted from 0.
        score: by which the method judges, at that step, in [0, 1].
        tied_steps: how many other steps of the run reached the same score.
        tied_draws: how many other runs of the cell did.
        unfinished: runs of the cell that could not take part, counted by status; the cell is incomplete if any did not.
    """

    cell: Cell
    key: str
    folder: str
    draw: int
    step: int
    score: float
    tied_steps: int
    tied_draws: int
    unfinished: Mapping[RunStatus, int] = field(default_factory=dict, hash=False)

    @property
    def incomplete(self) -> bool:
        """Whether a run of the cell is not final. Runs that were never started are not counted: see the plan."""
        return bool(self.unfinished)


def select(
    records: Iterable[RunRecords],
    method: str = DEFAULT_METHOD,
    *,
    metric: str = DEFAULT_METRIC,
    exclude_diverged: bool = False,
    first_step: int = 0,
    pair_records: Iterable[RunRecords] = (),
    cells: Iterable[Cell] = (),
) -> tuple[Selected, ...]:
    """Select one run and one step in every cell that has a run to select.

    Only final runs take part: DONE, STOPPED and, up to the step where they diverged, DIVERGED.

    Args:
        records: runs of any number of cells, in any order.
        method: a name in `METHODS`.
        metric: by which the method judges; a name in `metrics.SELECTING`.
        exclude_diverged: leave out every run that diverged, its finite records included.
        first_step: evaluations before it do not take part.
        pair_records: runs with two test domains that only validate those with one (leave-one-domain-out).
        cells: every planned cell, with or without runs; a shared draw needs a run in each. Those of `records` are
            added.

    Returns:
        In the order of `cells`, then in that in which cells first appear; a cell without a selectable run is absent.

    Raises:
        InputError: unknown method, a run that is twice in its cell, or a run without a draw number.
    """
    grouped: dict[Cell, list[RunRecords]] = {cell: [] for cell in cells} | group_by_cell(records)
    pairs = [*pair_records]
    faults = [fault for runs in (*grouped.values(), *group_by_cell(pairs).values()) for fault in _faults(runs)]
    if method not in METHODS:
        faults.append(Fault("method", "must be a known selection method", method, tuple(METHODS)))
    if faults:
        raise InputError(faults, source="select")
    standing = contenders(
        grouped, pairs, method, metric=metric, exclude_diverged=exclude_diverged, first_step=first_step
    )
    return tuple(
        _selected(cell, runs, choice)
        for cell, runs in grouped.items()
        if (choice := highest_run(standing[cell])) is not None
    )


def contenders(
    cells: Mapping[Cell, Sequence[RunRecords]],
    pair_records: Iterable[RunRecords],
    method: str,
    *,
    metric: str,
    exclude_diverged: bool,
    first_step: int,
) -> Contenders:
    """By cell, the runs that can be selected, with the step that stands for each; the arguments are those of `select`.

    Args:
        cells: the runs of every planned cell.
    """
    kept = FINAL - {RunStatus.DIVERGED} if exclude_diverged else FINAL

    def eligible(runs: Iterable[RunRecords]) -> list[RunRecords]:
        return [from_step(run, first_step) for run in runs if run.status in kept]

    of_cells = {cell: eligible(runs) for cell, runs in cells.items()}
    final = [*(run for runs in of_cells.values() for run in runs), *eligible(pair_records)]
    judge = METHODS[method].judge(final, metric)
    return METHODS[method].compare(
        {
            cell: [
                Contender(run.key, max(run.draws), best, best.score) for run in runs if (best := judge(run)) is not None
            ]
            for cell, runs in of_cells.items()
        }
    )


def from_step(run: RunRecords, first_step: int) -> RunRecords:
    """The run without its evaluations before `first_step`."""
    if first_step == 0:
        return run
    before = sum(step < first_step for step in run.steps)
    return replace(run, result=replace(run.result, records=run.records[before:]))


def _faults(runs: Sequence[RunRecords]) -> list[Fault]:
    """Faults that make the choice within a cell ambiguous."""
    times = Counter(run.key for run in runs)
    repeated = [Fault("records", "a run may stand only once in its cell", key) for key, n in times.items() if n > 1]
    drawless = [Fault("records", "a run must have a draw number", run.key) for run in runs if not run.draws]
    return repeated + drawless


def _selected(cell: Cell, runs: Sequence[RunRecords], choice: Choice) -> Selected:
    run = next(run for run in runs if run.key == choice.key)
    return Selected(
        cell=cell,
        key=run.key,
        folder=run.folder,
        draw=choice.draw,
        step=choice.best.step,
        score=choice.best.score,
        tied_steps=choice.best.tied,
        tied_draws=choice.tied_draws,
        unfinished=Counter(run.status for run in runs if run.status not in FINAL),
    )
