"""Plots left empty, for tests that look at the rest of a report: they take most of its time."""

from __future__ import annotations

import pytest


def leave_plots_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gga_sweep.report.html.draw", lambda name, report: "<svg></svg>")
