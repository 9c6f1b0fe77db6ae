"""A trained sweep of the test's own, to be changed at will."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import read_plan
from gga_sweep.spec import Plan, SweepSpec


@pytest.fixture
def sweep(own_copy: Callable[[], SweepSpec]) -> SweepSpec:
    return own_copy()


@pytest.fixture
def ledger(sweep: SweepSpec) -> Ledger:
    return Ledger(sweep.folder)


@pytest.fixture
def plan(sweep: SweepSpec) -> Plan:
    return read_plan(sweep.folder)
