"""Which run a sweep trains next, if that depends on results of earlier runs.

Within a cell the order is that of the draws, and a draw depends only on results of lower draws, in whatever order they
ended. So suggestions and early stopping are the same on any number of devices, and after any restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.prefix_names import UNBRANCHED, Branching, delete_prefixes
from gga_sweep.ledger.stored_sweep import read_results
from gga_sweep.ledger.suggested_draws import keep_suggested, read_suggested
from gga_sweep.metrics import METRICS
from gga_sweep.records import FINAL, Cell, RunResult, RunStatus, Scalar, ValidationRecord
from gga_sweep.scheduling.cell_search import feed
from gga_sweep.scheduling.pooled import pooled
from gga_sweep.scheduling.prefix_sharing import PrefixSharing
from gga_sweep.scheduling.results import Curve, Result, result_of, score_at
from gga_sweep.scheduling.rungs import RungTable, rung_steps
from gga_sweep.scheduling.sampler_search import EndedDraw, SamplerSearch, SuggestedDraw
from gga_sweep.scheduling.tpe import TPESearch
from gga_sweep.seeding import stream_seed
from gga_sweep.spec import Contents, PlannedRun, SweepSpec, plan_sweep
from gga_sweep.spec.adaptive_search import (
    DrawGroup,
    adaptive_settings,
    draw_groups,
    grace_steps,
    last_window_end,
    pool_of,
    random_draws,
)
from gga_sweep.spec.arm_values import searched_space
from gga_sweep.spec.runs import suggested_run
from gga_sweep.spec.samplers import CellStudy, make_sampler, names_sampler, searcher_of


@dataclass(frozen=True, slots=True)
class NextRun:
    """A run to train.

    Args:
        run: of the plan, or a suggested one.
        cutoffs: by step of a rung, the score below which the run is stopped there.
        first_step: the first step whose evaluations count.
        branching: the prefixes it may start from, and those it saves for others.
    """

    run: PlannedRun
    cutoffs: Mapping[int, float] = field(default_factory=dict)
    first_step: int = 0
    branching: Branching = UNBRANCHED


class RunSource(Protocol):
    """The interface of an order of runs: returns the runs of a launch one by one."""

    @property
    def exhausted(self) -> bool:
        """Whether all runs have been returned."""

    def take(self) -> NextRun | None:
        """A run to train now; None while all remaining ones wait for one in training."""

    def reached(self, key: str, steps: int) -> None:
        """Note that a run in training has trained so many steps."""

    def ended(self, key: str) -> None:
        """Note that a run is no longer trained; its result is in the ledger."""


class NextRuns:
    """Returns the runs of a sweep one by one, as soon as those that they depend on have ended.

    Args:
        sweep: with an adaptive search or early stopping.
        contents: digests that it is planned with.
        ledger: earlier results are read from it, and suggestions are stored in it.
        given_up: keys of runs that are not final, and that this launch does not retry.
        sharing: of the steps that runs have in common; None if each run trains all its steps.
    """

    def __init__(
        self,
        sweep: SweepSpec,
        contents: Contents,
        ledger: Ledger,
        given_up: Iterable[str] = (),
        sharing: PrefixSharing | None = None,
    ) -> None:
        self._sweep, self._contents, self._ledger = sweep, contents, ledger
        self._suggested = {cell: dict(draws) for cell, draws in read_suggested(ledger).items()}
        plan = plan_sweep(sweep, contents, self._suggested)
        self._runs: dict[Cell, dict[int, PlannedRun]] = {}
        for run in plan.runs:
            self._runs.setdefault(run.cell, {}).update(dict.fromkeys(run.draws, run))
        results = read_results(plan, ledger)
        self._final = {
            run.key: results[run.folder]
            for run in plan.runs
            if run.folder in results and results[run.folder].state.status in FINAL
        }
        self._given_up = set(given_up)
        self._training: dict[str, PlannedRun] = {}
        self._sharing = sharing
        for run in plan.runs:
            self._share(run)
        self._groups = draw_groups(sweep)
        self._searches: dict[tuple[Cell, ...], SamplerSearch] = {}
        self._searcher = searcher_of(sweep.config)
        self._settled = dict.fromkeys((group.cells for group in self._groups), 0)
        self._rungs = rungs_of(sweep)
        self._first_step = last_window_end(sweep) if sweep.config.select_from == "after-window" else 0

    @property
    def exhausted(self) -> bool:
        """Whether every draw of every cell has ended."""
        return all(self._settled_draws(group) >= group.arm.draws for group in self._groups)

    def take(self) -> NextRun | None:
        """A run to train now, of a cell with the fewest ended draws; None while all depend on runs in training."""
        waiting = sorted(self._groups, key=self._settled_draws)
        return next((found for group in waiting for found in self._startable(group)), None)

    def reached(self, key: str, steps: int) -> None:
        """Note that a run in training has trained so many steps."""
        if self._sharing is not None:
            self._sharing.reached(key, steps)

    def ended(self, key: str) -> None:
        """Note that a run is no longer trained; its result is in the ledger."""
        run = self._training.pop(key)
        if self._sharing is not None:
            delete_prefixes(self._ledger.store, self._sharing.ended(key))
        result = self._ledger.run(run.folder).read_result()
        if result.state.status in FINAL:
            self._final[key] = result
        else:
            self._given_up.add(key)

    def _startable(self, group: DrawGroup) -> Iterator[NextRun]:
        for draw in range(self._settled_draws(group), group.arm.draws):
            basis = self._basis(group, draw)
            if any(self._settled_draws(other) < basis for other in self._informants(group)):
                return
            for cell in group.cells:
                run = self._run(group, cell, draw, basis)
                key = run.key
                if self._is_settled(key) or key in self._training:
                    continue
                if self._sharing is not None and self._sharing.blocker(key) is not None:
                    continue
                self._training[key] = run
                branching = UNBRANCHED if self._sharing is None else self._sharing.begin(key)
                yield NextRun(run, self._cutoffs(cell, basis), self._first_step, branching)

    def _basis(self, group: DrawGroup, draw: int) -> int:
        """How many of the lowest draws a draw is based on."""
        at_once, random = adaptive_settings(self._sweep.config).at_once, random_draws(self._sweep, group.arm)
        if draw >= random:
            return draw - (draw - random) % at_once
        return draw - draw % at_once if self._rungs else 0

    def _informants(self, group: DrawGroup) -> Sequence[DrawGroup]:
        return pool_of(group, self._groups) if self._sweep.config.search == "tpe-pooled" else (group,)

    def _settled_draws(self, group: DrawGroup) -> int:
        """How many draws, from 0 on, have ended in every cell of a group."""
        settled = self._settled[group.cells]
        while settled < group.arm.draws and all(
            settled in self._runs[cell] and self._is_settled(str(self._runs[cell][settled].key)) for cell in group.cells
        ):
            settled += 1
        self._settled[group.cells] = settled
        return settled

    def _is_settled(self, key: str) -> bool:
        return key in self._final or key in self._given_up

    def _run(self, group: DrawGroup, cell: Cell, draw: int, basis: int) -> PlannedRun:
        if draw not in self._runs[cell]:
            known = next((drawn[draw] for other in group.cells if draw in (drawn := self._of(other))), None)
            values = known or self._suggest(group, draw, basis)
            self._of(cell)[draw] = values
            keep_suggested(self._ledger, cell, self._of(cell), self._searcher)
            run = suggested_run(self._sweep, self._contents, cell, draw, values)
            same = (other for other in self._runs[cell].values() if other.key == run.key)
            self._runs[cell][draw] = next(same, run)
            self._share(self._runs[cell][draw])
        return self._runs[cell][draw]

    def _share(self, run: PlannedRun) -> None:
        if self._sharing is not None:
            self._sharing.add(run, waits=not self._is_settled(run.key) and run.key not in self._training)

    def _of(self, cell: Cell) -> dict[int, Mapping[str, Scalar]]:
        return self._suggested.setdefault(cell, {})

    def _suggest(self, group: DrawGroup, draw: int, basis: int) -> dict[str, Scalar]:
        """Like all random numbers, those of a search depend on no arm and no test domain."""
        space, place = searched_space(self._sweep, group.arm), (self._sweep.dataset.name, group.trial_seed, "search")
        if names_sampler(self._sweep.config):
            if group.cells not in self._searches:
                self._searches[group.cells] = SamplerSearch(
                    lambda: CellStudy(space, make_sampler(self._sweep.config, stream_seed(*place)))
                )
            return self._searches[group.cells].suggest([*self._history(group, draw)])
        search = TPESearch(space, stream_seed(*place, draw))
        results = [self._results(other, basis) for other in self._informants(group)]
        feed(search, results[0] if self._sweep.config.search == "tpe" else pooled(results))
        return search.suggest()

    def _history(self, group: DrawGroup, last: int) -> Iterator[SuggestedDraw | EndedDraw]:
        """Every suggestion up to a draw, each after the results that it is based on."""
        reported = 0
        for draw in range(random_draws(self._sweep, group.arm), last + 1):
            basis = self._basis(group, draw)
            for ended in range(reported, basis):
                yield EndedDraw(ended, self._runs[group.cells[0]][ended].hyperparameters, self._result(group, ended))
            yield SuggestedDraw(draw)
            reported = basis

    def _results(self, group: DrawGroup, basis: int) -> list[Result]:
        """Of the draws that are final in every cell."""
        results = (self._result(group, draw) for draw in range(basis))
        return [result for result in results if result is not None]

    def _result(self, group: DrawGroup, draw: int) -> Result | None:
        runs = [self._runs[cell][draw] for cell in group.cells]
        if any(run.key not in self._final for run in runs):
            return None
        curves = [self._curve(self._final[run.key]) for run in runs]
        return result_of(runs[0].hyperparameters, curves, self._sweep.config.metric)

    def _cutoffs(self, cell: Cell, basis: int) -> dict[int, float]:
        if not self._rungs:
            return {}
        stopping = self._sweep.config.early_stopping
        table = RungTable(self._rungs, stopping.reduction_factor if stopping else 2)
        runs = dict.fromkeys(str(self._runs[cell][draw].key) for draw in range(basis))
        for key in runs:
            validations = self._curve(self._final[key]).validations if key in self._final else ()
            for step in self._rungs:
                if validations and validations[-1].step >= step:
                    table.reached(step, score_at(validations, self._sweep.config.metric, step))
        return table.cutoffs()

    def _curve(self, result: RunResult) -> Curve:
        """Validation of the training domains only: test numbers are removed here."""
        validations = [record.validation for record in result.records if record.step >= self._first_step]
        return Curve(validations, stopped=result.state.status is RunStatus.STOPPED)


class EndedEarly:
    """Stops a run that is behind the earlier runs of its cell.

    Args:
        cutoffs, first_step: as `NextRun` has them.
        metric: by which runs are selected.
    """

    def __init__(self, cutoffs: Mapping[int, float], first_step: int, metric: str) -> None:
        self._cutoffs, self._first_step, self._metric = dict(cutoffs), first_step, metric

    def __call__(self, validations: Sequence[ValidationRecord]) -> str | None:
        """The reason to stop a run with these evaluations; None if it continues."""
        counting = [record for record in validations if record.step >= self._first_step]
        for step, cutoff in sorted(self._cutoffs.items()):
            if counting and counting[-1].step >= step:
                score = score_at(counting, self._metric, step)
                if score < cutoff:
                    what = f"validation {METRICS[self._metric].label} {score:.4f}, {cutoff:.4f} was needed"
                    return f"behind its cell at step {step}: {what}"
        return None


def rungs_of(sweep: SweepSpec) -> tuple[int, ...]:
    """The steps of its rungs; none without early stopping."""
    stopping = sweep.config.early_stopping
    if stopping is None:
        return ()
    return rung_steps(grace_steps(sweep), stopping.reduction_factor, sweep.training.evaluated_steps)
