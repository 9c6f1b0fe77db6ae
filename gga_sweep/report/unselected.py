"""The runs whose weights no selection of a sweep needs."""

from __future__ import annotations

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.report.make_report import make_report
from gga_sweep.spec import Plan


def unselected_runs(plan: Plan, ledger: Ledger) -> set[str]:
    """Folders of the plan's runs that no method of the sweep selected, or can still select.

    A run can still be selected while its cell lacks a run, or its selection waits for other cells.
    """
    report = make_report(plan, ledger)
    tables = (report.table, *report.others)
    selected = {one.folder for table in tables for one in table.selected}
    incomplete = {cell.cell for table in tables for cell in table.incomplete}
    selectable = {run.folder for run in report.view.records if run.cell in incomplete}
    runs = {run.folder for run in (*report.view.records, *report.view.pair_records)}
    return runs - selected - selectable
