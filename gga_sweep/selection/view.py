"""A sweep as tables and reports read it: its plan and the records of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

from gga_sweep.errors import Fault, InputError
from gga_sweep.metrics import DEFAULT_METRIC
from gga_sweep.records import FINAL, Cell, RunRecords, RunStatus, Scalar

SelectFrom = Literal["any", "after-window"]
"""Which evaluations take part in selection: all, or those after every annealing window of the plan."""


@dataclass(frozen=True, slots=True)
class SweepView:
    """The plan of a sweep, and its runs as they are.

    Args:
        name: the sweep's name.
        dataset: the dataset's name.
        protocol: name of the protocol, printed with every table.
        deviations: in words, where this sweep deviates from that protocol.
        arms: in the order of the table's rows.
        test_domains: in the order of the table's columns; each nearly always a tuple of one.
        trial_seeds: ascending.
        draws: the draw numbers planned for each arm. A searched arm may be absent: then nothing was planned for it.
        records: every run of the plan that exists. A planned draw without a run counts as missing.
        baselines: arm -> the arm it is compared with; an arm that is a baseline itself is absent.
        metric: by which runs are selected and arms compared.
        searched: arms whose draws came from a user's own searcher.
        pairs: pairs of test domains, no columns of the table, whose runs validate those of a single test domain.
        pair_records: the runs of pairs that exist.
        after_windows: the first step after every annealing window of the plan; 0 without one.
        blocks: arm -> its name without its factors; the arms of a block share it.
        algorithms: annealed arm -> its algorithm, where its baseline is that algorithm without annealing.
        factors: arm -> what distinguishes it from the other arms of its block, by dotted name.
        settings: arm -> all that distinguishes it from the other arms, by dotted name, and what no draw sets.
        seed_use: in a sentence, what the spread over trial seeds includes; empty if unknown.
        matched_draws: whether a draw number means the same values in every arm that searches them, trained alike.
        log_scaled: hyperparameters that are drawn from a logarithmic distribution.
        averaged: arm of averaged weights -> the arm whose runs they come from (`with_averaged_arms`).
        notes: further sentences to print with the table, e.g. runs counted but not in the present plan.

    Raises:
        InputError: no arm, test domain or trial seed; or one of them repeated; or an arm without its draws; or a run
            in no cell or pair of the plan.
    """

    name: str
    dataset: str
    protocol: str
    deviations: tuple[str, ...]
    arms: tuple[str, ...]
    test_domains: tuple[tuple[str, ...], ...]
    trial_seeds: tuple[int, ...]
    draws: Mapping[str, tuple[int, ...]]
    records: tuple[RunRecords, ...]
    baselines: Mapping[str, str] = field(default_factory=dict)
    metric: str = DEFAULT_METRIC
    searched: frozenset[str] = frozenset()
    pairs: tuple[tuple[str, ...], ...] = ()
    pair_records: tuple[RunRecords, ...] = ()
    after_windows: int = 0
    blocks: Mapping[str, str] = field(default_factory=dict)
    factors: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    algorithms: Mapping[str, str] = field(default_factory=dict)
    seed_use: str = ""
    matched_draws: bool = True
    log_scaled: frozenset[str] = frozenset()
    averaged: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        for name in ("arms", "test_domains", "trial_seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                faults.append(Fault(name, "must name at least one, each once", values))
        faults += [
            Fault("draws", "must hold the draw numbers planned for every arm that was not searched; absent", arm)
            for arm in self.arms
            if arm not in self.searched and arm not in self.draws
        ]
        planned = set(self.cells())
        faults += [
            Fault("records", f"run {run.folder} must stand in a cell of the plan", run.cell)
            for run in self.records
            if run.cell not in planned
        ]
        planned_pairs = set(self._cells_of(self.pairs))
        faults += [
            Fault("pair_records", f"run {run.folder} must stand in a pair of the plan", run.cell)
            for run in self.pair_records
            if run.cell not in planned_pairs
        ]
        if faults:
            raise InputError(faults, source=self.name)

    @property
    def trained_arms(self) -> tuple[str, ...]:
        """The arms without those of averaged weights, for which nothing is trained."""
        return tuple(arm for arm in self.arms if arm not in self.averaged)

    @property
    def trained_runs(self) -> tuple[RunRecords, ...]:
        """The runs of the arms that are trained."""
        return tuple(run for run in self.records if run.cell.arm not in self.averaged)

    def cells(self) -> Iterator[Cell]:
        """Every planned cell, by arm, test domains and trial seed in their given orders."""
        return self._cells_of(self.test_domains)

    def by_cell(self) -> dict[Cell, list[RunRecords]]:
        """The runs of each cell that has one, without those of pairs."""
        return group_by_cell(self.records)

    def not_final(self, cell: Cell, runs: Sequence[RunRecords]) -> dict[str, set[int]]:
        """The draws of a cell that have no run among `runs`, or one that is not final, by their status in words."""
        reasons: dict[str, set[int]] = {}
        if missing := set(self.draws.get(cell.arm, ())).difference(*(run.draws for run in runs)):
            reasons["missing"] = missing
        for run in runs:
            if run.status not in FINAL:
                reasons.setdefault(status_in_words(run.status), set()).update(run.draws)
        return reasons

    def _cells_of(self, columns: Iterable[tuple[str, ...]]) -> Iterator[Cell]:
        for arm, test_domains, trial_seed in product(self.arms, columns, self.trial_seeds):
            yield Cell(self.dataset, arm, test_domains, trial_seed)


def group_by_cell(records: Iterable[RunRecords]) -> dict[Cell, list[RunRecords]]:
    """The runs of each cell, cells in the order in which they first appear."""
    cells: dict[Cell, list[RunRecords]] = {}
    for run in records:
        cells.setdefault(run.cell, []).append(run)
    return cells


def status_in_words(status: RunStatus) -> str:
    """A status as text for readers.

    >>> status_in_words(RunStatus.OUT_OF_MEMORY)
    'out of memory'
    """
    return status.value.replace("_", " ").lower()


def domain_label(test_domains: tuple[str, ...]) -> str:
    """Test domains as one word.

    >>> domain_label(("art", "sketch"))
    'art+sketch'
    """
    return "+".join(test_domains)
