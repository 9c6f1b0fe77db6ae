"""Pure functions from records to choices and tables: no I/O, no clock, no global."""

from __future__ import annotations

from gga_sweep.selection.annealing_effect import (
    AlignmentAndScore,
    AnnealingDiagnostics,
    Diagnostic,
    SelectedSteps,
)
from gga_sweep.selection.averaged import with_averaged_arms
from gga_sweep.selection.comparison import Comparison, compare
from gga_sweep.selection.contrasts import Contrast, MissingPair
from gga_sweep.selection.cost import PHASES, Cost
from gga_sweep.selection.declaration import Method
from gga_sweep.selection.factor_effects import FactorEffect, alignment_over_arms
from gga_sweep.selection.gains import AlgorithmGain, mean_gain
from gga_sweep.selection.methods import DEFAULT_METHOD, METHODS
from gga_sweep.selection.seed_statistics import ENOUGH_SEEDS, SeedEstimate
from gga_sweep.selection.select import Selected, select
from gga_sweep.selection.table import Entry, IncompleteCell, Row, Table, build_table
from gga_sweep.selection.verdict import Finding, Verdict
from gga_sweep.selection.view import SweepView, domain_label

__all__ = [
    "DEFAULT_METHOD",
    "ENOUGH_SEEDS",
    "METHODS",
    "PHASES",
    "AlgorithmGain",
    "AlignmentAndScore",
    "AnnealingDiagnostics",
    "Comparison",
    "Contrast",
    "Cost",
    "Diagnostic",
    "Entry",
    "FactorEffect",
    "Finding",
    "IncompleteCell",
    "Method",
    "MissingPair",
    "Row",
    "SeedEstimate",
    "Selected",
    "SelectedSteps",
    "SweepView",
    "Table",
    "Verdict",
    "alignment_over_arms",
    "build_table",
    "compare",
    "domain_label",
    "mean_gain",
    "select",
    "with_averaged_arms",
]
