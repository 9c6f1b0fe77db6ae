"""Plots left empty, for tests that look at the rest of a report: they take most of its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gga_sweep.report.plots.catalogue import DrawnPlot, Plot
    from gga_sweep.selection import SweepView


def leave_plots_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    from gga_sweep.report import html

    def draw_nothing(plot: Plot, view: SweepView, source: object) -> DrawnPlot:
        return html.DrawnPlot(plot.title, plot.caption, plot.nothing, "<svg></svg>")

    monkeypatch.setattr(html, "draw", draw_nothing)
