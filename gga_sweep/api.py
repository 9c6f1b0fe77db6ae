"""The public Python names. Importing this module loads neither torch, ray nor mlflow."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from gga_sweep.errors import Fault, GGASweepError, InputError, SweepOwnedError
from gga_sweep.execution.launch_options import LaunchOptions
from gga_sweep.execution.prepare import decode_images, prepare_ledger, require_writable
from gga_sweep.execution.signals import stop_signals
from gga_sweep.ledger.lease import held
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.ledger.suggested_draws import read_suggested
from gga_sweep.metrics import DEFAULT_METRIC, METRICS
from gga_sweep.process_state import kept
from gga_sweep.records import RunRecords, RunStatus
from gga_sweep.report.files import present_files
from gga_sweep.report.launch_display import DecodingDisplay, default_console, work_in_words
from gga_sweep.report.make_report import Report, make_report
from gga_sweep.report.notebook import report_to_html, table_to_html
from gga_sweep.report.run_table import rows_by_run, rows_by_step
from gga_sweep.report.waiting import waiting
from gga_sweep.report.wording import count, percent
from gga_sweep.scheduling.remaining import find_remaining
from gga_sweep.selection import Selected, Table, build_table, select
from gga_sweep.spec import Plan, SweepSpec, load, plan_sweep
from gga_sweep.spec.adaptive_search import is_adaptive
from gga_sweep.spec.content_digests import cache_folder
from gga_sweep.spec.location import Location
from gga_sweep.tracking.projector import Projector
from gga_sweep.tracking.tracking_uri import redact, resolve_tracking_uri

if TYPE_CHECKING:
    import pandas as pd

    from gga_sweep.execution.predictions import Predictions
    from gga_sweep.ledger.run_folder import RunFolder
    from gga_sweep.ledger.run_reader import Weights
    from gga_sweep.networks.network import Network
    from gga_sweep.ray_backend.callbacks import callbacks
    from gga_sweep.ray_backend.search_space import param_space
    from gga_sweep.ray_backend.trainable import trainable
    from gga_sweep.report.plots.catalogue import DrawnPlot

__all__ = [
    "GGASweepError",
    "InputError",
    "LaunchOptions",
    "Plan",
    "Selected",
    "SweepOwnedError",
    "SweepResult",
    "SweepSpec",
    "Table",
    "callbacks",
    "load",
    "param_space",
    "plan_sweep",
    "result",
    "run_sweep",
    "select",
    "trainable",
]

_NEED_RAY = {"callbacks": "callbacks", "param_space": "search_space", "trainable": "trainable"}
"""The modules of `ray_backend` that hold the names for a user's own Tuner."""

Table._repr_html_ = table_to_html  # type: ignore[attr-defined]  # `selection` cannot import `report`, which is above it


def __getattr__(name: str) -> object:
    if name not in _NEED_RAY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gga_sweep.ray_backend.{_NEED_RAY[name]}"), name)


def run_sweep(sweep: SweepSpec, options: LaunchOptions | None = None, console: Console | None = None) -> SweepResult:
    """Train what is left of a sweep, track it, select, report. Launch again to continue.

    Args:
        sweep: from `gga_sweep.load`.
        options: how to launch it.
        console: shows the progress; None shows it in a notebook, and nothing elsewhere.

    Returns:
        The runs with their records, and what was selected.

    Raises:
        InputError: bad input, for example a dashboard that cannot be started; before any run starts.
        SweepOwnedError: another live launch owns the sweep.
        GGASweepError: there is no Ray cluster at the address, or it was lost; or the tracking server is required and
            not reachable.
        StorageError: the ledger cannot be read or written.
    """
    from gga_sweep.ray_backend.dashboard import check_dashboard
    from gga_sweep.ray_backend.launch import START_SECONDS, Launch
    from gga_sweep.ray_backend.sweep_end import end_sweep

    options, console = options or LaunchOptions(), console or default_console()
    uri = resolve_tracking_uri(sweep.storage, sweep.tracking_uri, os.environ)
    check_dashboard(options, os.environ)
    require_writable(sweep.storage)
    ledger = Ledger(sweep.folder)
    with held(ledger.store, take_over=options.take_over) as lease, stop_signals(lease) as signals:
        with waiting(console, f"{sweep.name}: looking for finished runs in {sweep.folder}"):
            contents = prepare_ledger(sweep, options.allow_change)
            plan = plan_sweep(sweep, contents, read_suggested(ledger))
            work = find_remaining(plan, contents, ledger)
        console.print(work_in_words(work), highlight=False, markup=False)
        if not work.is_empty:
            with waiting(console, "Loading Ray"):  # otherwise it is not even imported
                from gga_sweep.execution.network_check import require_networks
                from gga_sweep.ray_backend.train_in_waves import train

                require_networks(sweep)
            with DecodingDisplay(console) as decoding:
                decode_images(sweep, decoding.show)
        projector = Projector(
            plan,
            ledger,
            uri,
            require_tracking=options.require_tracking,
            lull=START_SECONDS,
            store_later=not work.is_empty,
        )
        with kept(), projector:  # its thread may restore random numbers that Ray drew
            if not work.is_empty:
                train(work, Launch(lease, signals, projector, options, console))
                if is_adaptive(sweep.config):
                    plan = plan_sweep(sweep, contents, read_suggested(ledger))  # with the runs that were suggested
            with waiting(console, "Writing the report and updating MLflow"):
                ending = end_sweep(plan, ledger, projector)
            return SweepResult(
                plan, ledger, ending.report, ending.paths, redact(uri), ending.tracked, stopped=lease.reason
            )


def result(sweep: SweepSpec | str | Location) -> SweepResult:
    """The results of a sweep so far, without training.

    `run_sweep`, the command line or a Tuner of your own trained it. Reads the ledger only: no images, no writes.

    Args:
        sweep: from `gga_sweep.load`; or its folder (STORAGE/SWEEP), on this machine or in a bucket.

    Returns:
        The runs with their records, and what was selected, of the sweep as it was last launched.

    Raises:
        InputError: the folder holds no sweep.
        StorageError: it cannot be read.

    Example:
        >>> try:
        ...     result("gga-sweep-results/never-launched")
        ... except InputError as error:
        ...     print(error.faults[0].rule)
        must be a sweep's folder (STORAGE/SWEEP), as `gga-sweep run` makes it
    """
    folder = sweep.folder if isinstance(sweep, SweepSpec) else sweep
    plan, ledger = read_plan(folder), Ledger(folder)
    uri = resolve_tracking_uri(plan.sweep.storage, getattr(sweep, "tracking_uri", None), os.environ)
    return SweepResult(
        plan, ledger, make_report(plan, ledger), present_files(ledger), redact(uri), tracked=None, stopped=None
    )


@dataclass(frozen=True, slots=True, repr=False)
class SelectedModel:
    """A selected run and its weights at the selected step.

    Args:
        weights: "averaged" if the run was selected by its averaged weights.
        metric: by which it was selected.
    """

    selected: Selected
    ledger: Ledger
    weights: Weights = "selected"
    metric: str = DEFAULT_METRIC

    def __repr__(self) -> str:
        one = self.selected
        score = f"validation {METRICS[self.metric].label} {percent(one.score)} %"
        return f"<SelectedModel of {one.folder}: draw {one.draw}, step {one.step}, {score}>"

    def load_model(self) -> Network:
        """Load the network in evaluation mode, on the CPU.

        Raises:
            InputError: the run kept the weights of another step.
        """
        from gga_sweep.execution.model import load_model  # loads torch

        return load_model(self._folder(), self.weights)

    def predict(self) -> Predictions:
        """Predict every image of every domain, by sample id.

        Raises:
            InputError: as `load_model`; or the images are missing, or not those of the run.
        """
        from gga_sweep.execution.predictions import predict

        cache = cache_folder(self.ledger.folder.parent)
        return predict(self._folder(), cache=cache if cache.is_dir() else None, weights=self.weights)

    def _folder(self) -> RunFolder:
        """The folder of the run, which keeps the weights of its best validation step alone."""
        folder = self.ledger.run(self.selected.folder)
        kept = folder.record_of(self.weights)
        if kept is not None and kept.step != self.selected.step:
            rule = f"the run kept only the weights of its best validation step, {kept.step}"
            raise InputError([Fault("step", rule, self.selected.step)], self.selected.folder)
        return folder


@dataclass(frozen=True, slots=True, repr=False)
class SweepResult:
    """The state of a sweep, after a launch or at any time.

    Args:
        report: its runs, tables and comparison.
        paths: the report's files, by format; "chosen" is the sweep file of what was selected, if no cell lacks a run.
        tracking_uri: of MLflow, without credentials.
        tracked: whether MLflow shows everything; otherwise the next launch adds what is missing. None: not checked.
        stopped: why the launch stopped before its end; None if it did not.
    """

    plan: Plan
    ledger: Ledger
    report: Report
    paths: Mapping[str, Location]
    tracking_uri: str
    tracked: bool | None
    stopped: str | None

    def __repr__(self) -> str:
        ended = f", {count(len(self.failed), 'failure')}" if self.failed else ""
        return (
            f"<SweepResult of {self.plan.sweep.name}: {count(len(self.records), 'run')}{ended}, {self.ledger.folder}>"
        )

    def _repr_html_(self) -> str:
        stopped = {"Stopped": self.stopped} if self.stopped else {}
        failed = {"Failed": count(len(self.failed), "run")} if self.failed else {}
        page = {"Page": str(self.paths["html"])} if "html" in self.paths else {}
        places = {**stopped, **failed, **page, "Ledger": str(self.ledger.folder), "MLflow": self.tracking_uri}
        return report_to_html(self.report, places)

    @property
    def interrupted(self) -> bool:
        """Whether the launch stopped before its end; the next one continues."""
        return self.stopped is not None

    @property
    def records(self) -> tuple[RunRecords, ...]:
        """The runs that were started, with their evaluations."""
        return self.report.view.trained_runs

    @property
    def failed(self) -> tuple[RunRecords, ...]:
        """The runs that failed."""
        return tuple(run for run in self.records if run.status in (RunStatus.FAILED, RunStatus.OUT_OF_MEMORY))

    @property
    def device_seconds(self) -> float:
        """Device seconds of all runs, over all launches; shared runs and steps count once."""
        runs = (*self.report.view.trained_runs, *self.report.view.pair_records)
        spent = {run.folder: math.fsum(run.seconds.values()) - run.inherited_seconds for run in runs}
        return math.fsum(spent.values())

    def dataframe(self, by: Literal["run", "step"] = "run", method: str | None = None) -> pd.DataFrame:
        """The runs as a tidy pandas DataFrame. `gga_sweep.report.run_table` documents the columns.

        Args:
            by: one row a run, or one row an evaluation of a run.
            method: a selection method, for the column `selected`; None: the first in the sweep file.

        Raises:
            InputError: another `by`, or a selection method that is unknown.
            GGASweepError: pandas is not installed.
        """
        kinds = {"run": rows_by_run, "step": rows_by_step}
        if by not in kinds:
            raise InputError([Fault("by", "must be a known kind of rows", by, tuple(kinds))], "dataframe")
        try:
            import pandas as pd
        except ImportError as error:
            raise GGASweepError("dataframe() requires pandas: pip install pandas") from error
        columns, rows = kinds[by](self.report.view, self.table(method))
        return pd.DataFrame(rows, columns=list(columns))

    def table(self, method: str | None = None) -> Table:
        """Mean and standard error over trial seeds, by arm and test domain.

        Args:
            method: a selection method; None: the first in the sweep file.
        """
        if method is None:
            return self.report.table
        return build_table(self.report.view, method, select_from=self.plan.sweep.config.select_from)

    def plot(self, name: str) -> DrawnPlot:
        """A plot of the page, for a notebook or as a Matplotlib figure.

        Args:
            name: differences, accuracy-steps, accuracy, gain-accuracy, budget-differences, budget-draws, budget-time,
                cost, factors, alignment, alignment-gained, loss, validation-test or hyperparameters.

        Returns:
            The plot; `.figure` is the Matplotlib figure, for example for `.figure.savefig("differences.pdf")`.

        Raises:
            InputError: an unknown name, or there is nothing to draw.
        """
        from gga_sweep.report.plots.catalogue import draw_figure  # loads Matplotlib

        return draw_figure(name, self.report)

    def selected(self, method: str | None = None) -> tuple[Selected, ...]:
        """The selected run and step of every cell."""
        return self.table(method).selected

    def best(
        self,
        arm: str | None = None,
        test_domain: str | tuple[str, ...] | None = None,
        trial_seed: int | None = None,
    ) -> SelectedModel:
        """The selected run of highest score among the matching cells; the first of equal ones.

        Cells of averaged weights take part, if the sweep has some.

        Args:
            arm, test_domain, trial_seed: None matches any.

        Raises:
            InputError: no matching cell has a selected run.
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
            requested = f"arm={arm!r}, test_domain={test_domain!r}, trial_seed={trial_seed!r}"
            cells = tuple(
                f"{one.cell.arm} / {'+'.join(one.cell.test_domains)} / {one.cell.trial_seed}" for one in self.selected()
            )
            raise InputError([Fault("best", "no run was selected for this", requested, cells)])
        best = max(candidates, key=lambda one: one.score)
        averaged = best.cell.arm in self.report.view.averaged
        weights: Weights = "averaged" if averaged else "selected"
        return SelectedModel(best, self.ledger, weights, self.report.table.metric)
