"""Pure functions from records to choices and tables: no I/O, no clock, no global."""

from __future__ import annotations

from gga_sweep.selection.select import DEFAULT_METHOD, METHODS, Method, Selected, select
from gga_sweep.selection.table import Entry, IncompleteCell, Row, Table, build_table
from gga_sweep.selection.view import SweepView, domain_label

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "Entry",
    "IncompleteCell",
    "Method",
    "Row",
    "Selected",
    "SweepView",
    "Table",
    "build_table",
    "domain_label",
    "select",
]
