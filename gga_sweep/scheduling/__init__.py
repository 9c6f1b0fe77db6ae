"""Adaptive search within cells: the next draw of a cell, and the runs that early stopping ends. Needs no Ray.

Everything is a function of the results and their order: there is no state to save, and after a restart the same
results give the same suggestion.
"""

from gga_sweep.scheduling.cell_search import CellSearch, feed
from gga_sweep.scheduling.pooled import pooled
from gga_sweep.scheduling.results import Curve, Result, result_of, score_at
from gga_sweep.scheduling.rungs import RungTable, rung_steps
from gga_sweep.scheduling.tpe import TPESearch

__all__ = [
    "CellSearch",
    "Curve",
    "Result",
    "RungTable",
    "TPESearch",
    "feed",
    "pooled",
    "result_of",
    "rung_steps",
    "score_at",
]
