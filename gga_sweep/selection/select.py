"""From the records of many runs to one selected run and step a cell, by a named method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from gga_sweep.errors import Fault, InputError
from gga_sweep.records import FINAL, Cell, RunRecords, RunStatus
from gga_sweep.selection.training_validation import Candidate, Choice, choose

DEFAULT_METHOD = "training-domain-validation"


@dataclass(frozen=True, slots=True)
class Selected:
    """The run that stands for a cell, at the step that stands for the run.

    Args:
        cell: the cell it was selected in.
        key, folder: of the selected run.
        draw: the highest of its draw numbers.
        step: counted from 0.
        validation_accuracy: at that step, in [0, 1].
        tied_steps: how many other steps of the run reached the same validation accuracy.
        tied_draws: how many other runs of the cell did.
        unfinished: runs of the cell that could not take part, counted by status; the cell is incomplete if any did not.
    """

    cell: Cell
    key: str
    folder: str
    draw: int
    step: int
    validation_accuracy: float
    tied_steps: int
    tied_draws: int
    unfinished: Mapping[RunStatus, int] = field(default_factory=dict, hash=False)

    @property
    def incomplete(self) -> bool:
        """Whether a run of the cell is not final. Runs that were never started are known to the plan alone."""
        return bool(self.unfinished)


@dataclass(frozen=True, slots=True)
class Method:
    """A way to select.

    Args:
        label: its name as printed with a table.
        rule: what it does, in one sentence.
        choose: takes the eligible runs of every cell, gives the choice of each cell that has one. It gets all cells
            at once because a method may judge a run by the runs of other cells.
    """

    label: str
    rule: str
    choose: Callable[[Mapping[Cell, Sequence[RunRecords]]], dict[Cell, Choice]]


def _by_training_validation(cells: Mapping[Cell, Sequence[RunRecords]]) -> dict[Cell, Choice]:
    """Hands on the validation records alone: what follows cannot see a test domain."""
    chosen: dict[Cell, Choice] = {}
    for cell, runs in cells.items():
        candidates = [Candidate(run.key, max(run.draws), [record.validation for record in run.records]) for run in runs]
        if (choice := choose(candidates)) is not None:
            chosen[cell] = choice
    return chosen


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        DEFAULT_METHOD: Method(
            label="training-domain validation",
            rule="of each run the step, of each cell the draw with the highest validation accuracy, averaged over "
            "the training domains; test domains are never looked at",
            choose=_by_training_validation,
        ),
    }
)


def select(
    records: Iterable[RunRecords], method: str = DEFAULT_METHOD, *, exclude_diverged: bool = False
) -> tuple[Selected, ...]:
    """Select one run and one step in every cell that has a run to select.

    Only final runs take part: DONE, STOPPED and, up to the step where they diverged, DIVERGED.

    Args:
        records: runs of any number of cells, in any order.
        method: a name in `METHODS`.
        exclude_diverged: leave out every run that diverged, its finite records included.

    Returns:
        In the order in which the cells first appear; a cell without a selectable run is absent.

    Raises:
        InputError: unknown method; or a run standing twice in its cell; or a run without a draw number.
    """
    cells = group_by_cell(records)
    faults = [fault for runs in cells.values() for fault in _faults(runs)]
    if method not in METHODS:
        faults.append(Fault("method", "must be a known selection method", method, tuple(METHODS)))
    if faults:
        raise InputError(faults, source="select")
    eligible = {
        cell: [run for run in runs if run.status in FINAL and not (exclude_diverged and _diverged(run))]
        for cell, runs in cells.items()
    }
    choices = METHODS[method].choose(eligible)
    return tuple(_selected(cell, cells[cell], choices[cell]) for cell in cells if cell in choices)


def group_by_cell(records: Iterable[RunRecords]) -> dict[Cell, list[RunRecords]]:
    """The runs of each cell, cells in the order in which they first appear."""
    cells: dict[Cell, list[RunRecords]] = {}
    for run in records:
        cells.setdefault(run.cell, []).append(run)
    return cells


def _diverged(run: RunRecords) -> bool:
    return run.status is RunStatus.DIVERGED


def _faults(runs: Sequence[RunRecords]) -> list[Fault]:
    """What would make the choice within a cell ambiguous."""
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
        validation_accuracy=choice.best.accuracy,
        tied_steps=choice.best.tied,
        tied_draws=choice.tied_draws,
        unfinished=Counter(run.status for run in runs if run.status not in FINAL),
    )
