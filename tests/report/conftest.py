from __future__ import annotations

import pytest
from invented_sweep import invented_comparison, invented_report, invented_sweep

from gga_sweep.report.make_report import Report
from gga_sweep.selection import Comparison, SweepView, Table, build_table


@pytest.fixture(scope="session")
def sweep_view() -> SweepView:
    """An invented sweep with one draw missing, one failed, one diverged and one out of memory."""
    return invented_sweep()


@pytest.fixture(scope="session")
def table(sweep_view: SweepView) -> Table:
    return build_table(sweep_view)


@pytest.fixture(scope="session")
def comparison(sweep_view: SweepView) -> Comparison:
    """Every annealed arm against ERM."""
    return invented_comparison(sweep_view)


@pytest.fixture(scope="session")
def report(sweep_view: SweepView) -> Report:
    return invented_report(sweep_view)
