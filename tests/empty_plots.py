"""Plots left empty, for tests that look at the rest of a report: they take most of its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gga_sweep.report.content import Report
    from gga_sweep.report.plots.catalogue import DrawnPlot


def leave_plots_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    from gga_sweep.report import html
    from gga_sweep.report.plots import catalogue

    def draw_nothing(name: str, report: Report) -> DrawnPlot:
        plot = catalogue.PLOTS[name]
        return catalogue.DrawnPlot(plot.title, plot.caption, plot.nothing, "<svg></svg>")

    monkeypatch.setattr(html, "draw", draw_nothing)
