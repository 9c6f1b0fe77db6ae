"""What a sweep left: its runs, its table, its winners, their models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gga_sweep.errors import Fault, InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.report.content import Report
from gga_sweep.selection import Selected, Table, build_table
from gga_sweep.spec import Plan
from gga_sweep.spec.location import Location
from gga_sweep.spec.runs import cache_folder

if TYPE_CHECKING:
    from gga_sweep.execution.predictions import Predictions
    from gga_sweep.ledger.run_folder import RunFolder
    from gga_sweep.ledger.run_reader import Weights
    from gga_sweep.networks.network import Network


@dataclass(frozen=True, slots=True)
class SelectedModel:
    """A selected run, and its weights at the selected step.

    Args:
        weights: `averaged` where it was selected for these.
    """

    selected: Selected
    ledger: Ledger
    weights: Weights = "selected"

    def load_model(self) -> Network:
        """The network in evaluation mode, on the CPU.

        Raises:
            InputError: the run kept the weights of another step than the selected one.
        """
        from gga_sweep.execution.model import load_model  # torch is loaded with it

        return load_model(self._folder(), self.weights)

    def predict(self) -> Predictions:
        """What it predicts for every image of every domain, by sample id.

        Raises:
            InputError: as `load_model`; or the images are not there, or not those of the run.
        """
        from gga_sweep.execution.predictions import predict

        cache = cache_folder(self.ledger.folder.parent)
        return predict(self._folder(), cache=cache if cache.is_dir() else None, weights=self.weights)

    def _folder(self) -> RunFolder:
        """Of the run, if its weights are those of the selected step: a run keeps its best validation step's alone."""
        folder = self.ledger.run(self.selected.folder)
        kept = folder.record_of(self.weights)
        if kept is not None and kept.step != self.selected.step:
            rule = f"the run kept the weights of its best validation step, {kept.step}, alone"
            raise InputError([Fault("step", rule, self.selected.step)], self.selected.folder)
        return folder


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A sweep as it stands after a launch.

    Args:
        report: its runs, tables and comparison, as its files tell them.
        paths: the report's files, by format, and the sweep file of what was selected as "chosen", where it is whole.
        tracking_uri: of MLflow, without credentials.
        tracked: whether MLflow shows everything; otherwise the next launch catches up.
        stopped: why the launch stopped before its end; None where it did not.
    """

    plan: Plan
    ledger: Ledger
    report: Report
    paths: Mapping[str, Location]
    tracking_uri: str
    tracked: bool
    stopped: str | None

    @property
    def interrupted(self) -> bool:
        """Whether the launch stopped before its end; the next one goes on."""
        return self.stopped is not None

    @property
    def records(self) -> tuple[RunRecords, ...]:
        """Every run that was started, with its evaluations."""
        return self.report.view.trained_runs

    @property
    def failed(self) -> tuple[RunRecords, ...]:
        """The runs that failed."""
        return tuple(run for run in self.records if run.status in (RunStatus.FAILED, RunStatus.OUT_OF_MEMORY))

    @property
    def device_seconds(self) -> float:
        """What its runs have spent, over all launches; runs and steps that are shared count once."""
        runs = (*self.report.view.trained_runs, *self.report.view.pair_records)
        spent = {run.folder: math.fsum(run.seconds.values()) - run.inherited_seconds for run in runs}
        return math.fsum(spent.values())

    def table(self, method: str | None = None) -> Table:
        """Mean and standard error over trial seeds, by arm and test domain.

        Args:
            method: a selection method; None: the first that the sweep's file names.
        """
        if method is None:
            return self.report.table
        return build_table(self.report.view, method, select_from=self.plan.sweep.config.select_from)

    def selected(self, method: str | None = None) -> tuple[Selected, ...]:
        """The selected run and step of every cell."""
        return self.table(method).selected

    def best(
        self,
        arm: str | None = None,
        test_domain: str | tuple[str, ...] | None = None,
        trial_seed: int | None = None,
    ) -> SelectedModel:
        """The selected run of highest validation accuracy among the cells asked for; of equal ones the first.

        Cells of averaged weights are among them, where the sweep has some.

        Args:
            arm, test_domain, trial_seed: None takes any.

        Raises:
            InputError: no cell like that has a selected run.
        """
        tests = (test_domain,) if isinstance(test_domain, str) else test_domain
        candidates = [
            one
            for one in self.selected()
            if arm in (None, one.cell.arm)
            and tests in (None, one.cell.test_domains)
            and trial_seed in (None, one.cell.trial_seed)
        ]
        if not candidates:
            asked = f"arm={arm!r}, test_domain={test_domain!r}, trial_seed={trial_seed!r}"
            cells = tuple(
                f"{one.cell.arm} / {'+'.join(one.cell.test_domains)} / {one.cell.trial_seed}" for one in self.selected()
            )
            raise InputError([Fault("best", "no run was selected for this", asked, cells)])
        best = max(candidates, key=lambda one: one.validation_accuracy)
        averaged = best.cell.arm in self.report.view.averaged
        return SelectedModel(best, self.ledger, "averaged" if averaged else "selected")
