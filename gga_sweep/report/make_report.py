"""The content of a report: a sweep's runs, its tables by each requested method, and the comparison of its arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast, get_args

from gga_sweep.errors import Fault, InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.metrics import DEFAULT_METRIC
from gga_sweep.report.chosen import chosen_sweep
from gga_sweep.report.collect import collect
from gga_sweep.report.document import Section
from gga_sweep.report.headline import score_section
from gga_sweep.report.published import PUBLISHED_DATASETS, published_section
from gga_sweep.report.sections import sections
from gga_sweep.selection import METHODS, Comparison, SweepView, Table, build_table, compare
from gga_sweep.selection.methods import needing_pairs
from gga_sweep.selection.view import SelectFrom
from gga_sweep.spec import Plan, SweepSpec
from gga_sweep.spec.check import unmet_needs


@dataclass(frozen=True, slots=True)
class Report:
    """One sweep, for every format.

    Args:
        view: the sweep.
        table: its headline table, built from `view`.
        comparison: of its arms, built from both.
        others: its tables by further methods.
        published: published results on its dataset, beside its table; None unless requested.
        chosen: the sweep file that trains the selected runs; empty while a cell lacks a run.
        fingerprint: the environment, as name and value; empty if unknown.
        provenance: where the runs come from, as name and value; empty if unknown.
    """

    view: SweepView
    table: Table
    comparison: Comparison
    others: tuple[Table, ...] = ()
    published: Section | None = None
    chosen: str = ""
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections, from the answer to the evidence, for every writer except CSV's."""
        compared = [*sections(self.comparison), *([self.published] if self.published else [])]
        compared.sort(key=lambda section: section.name not in ("differences", "algorithms", "published"))
        return (
            score_section(self.table, self.comparison),
            *compared,
            *map(score_section, self.others),
        )


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """The options of a report.

    Args:
        selection: names of methods, the headline's first; empty: those of the sweep's file.
        select_from: the steps that may be selected; None: as the sweep's file says.
        exclude_diverged: exclude diverged runs from selection.
        published: show the published rows beside ours.
    """

    selection: Sequence[str] = ()
    select_from: str | None = None
    exclude_diverged: bool = False
    published: bool = False


def make_report(plan: Plan, ledger: Ledger, options: ReportOptions | None = None) -> Report:
    """Read the ledger, then as `report_of`."""
    return report_of(plan.sweep, collect(plan, ledger), options)


def report_of(sweep: SweepSpec, view: SweepView, options: ReportOptions | None = None) -> Report:
    """Select and compare.

    Raises:
        InputError: a method that is unknown, given twice or without the runs it needs; steps of another kind; or no
            published rows for the dataset or the metric.
    """
    options = options or ReportOptions()
    methods = [*(options.selection or sweep.selection)]
    select_from = options.select_from or sweep.config.select_from
    _check(methods, select_from, sweep)
    tables = [
        build_table(
            view,
            method,
            exclude_diverged=options.exclude_diverged,
            select_from=cast(SelectFrom, select_from),
        )
        for method in methods
    ]
    comparison = compare(view, tables[0])
    published = published_section(tables[0], comparison.selected, view.algorithms) if options.published else None
    if options.published and view.metric != DEFAULT_METRIC:
        rule = "shows accuracies, beside those of a sweep whose metric is accuracy"
        raise InputError([Fault("--published", rule, view.metric, (DEFAULT_METRIC,))])
    if options.published and published is None:
        rule = "must be a dataset with published rows"
        raise InputError([Fault("--published", rule, sweep.dataset.name, PUBLISHED_DATASETS)])
    return Report(
        view=view,
        table=tables[0],
        comparison=comparison,
        others=tuple(tables[1:]),
        published=published,
        chosen=chosen_sweep(sweep, view, tables[0]) or "",
    )


def _check(methods: Sequence[str], select_from: str, sweep: SweepSpec) -> None:
    faults = [
        Fault("--selection", "must be a known selection method", method, tuple(METHODS))
        for method in methods
        if method not in METHODS
    ]
    if len(set(methods)) < len(methods):
        faults.append(Fault("--selection", "each method may stand once", methods))
    for method in needing_pairs(method for method in {*methods} - {*sweep.selection} if method in METHODS):
        rule = "needs runs with pairs of test domains: name it under `selection` in the sweep's file, and run that"
        if sweep.config.chosen is not None:
            rule = "has no draws to select among, since they were chosen before"
        faults.append(Fault("--selection", rule, method))
    faults.extend(unmet_needs([method for method in methods if method in METHODS], sweep, "--selection"))
    if select_from not in get_args(SelectFrom):
        faults.append(Fault("--select-from", "must be a known kind of steps", select_from, get_args(SelectFrom)))
    elif sweep.training.evaluate == "selection" and select_from == "after-window" != sweep.config.select_from:
        rule = (
            "needs the test domains at steps that training.evaluate: selection left out: set select_from or "
            "training.evaluate: all in the sweep's file, and run that"
        )
        faults.append(Fault("--select-from", rule, select_from, ("any",)))
    if faults:
        raise InputError(faults, str(sweep.folder))
