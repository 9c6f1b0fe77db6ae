"""A figure that must have been drawn."""

from __future__ import annotations

from matplotlib.figure import Figure


def drawn(figure: Figure | None) -> Figure:
    assert figure is not None
    return figure
