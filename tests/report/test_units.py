"""The unit of device time."""

from __future__ import annotations

import math

import pytest

from gga_sweep.report.units import DEVICE_HOURS, DEVICE_SECONDS, Unit, unit_for


@pytest.mark.parametrize(
    ("seconds", "unit"),
    [
        ([], DEVICE_SECONDS),
        ([3599.9, 12.0], DEVICE_SECONDS),
        ([12.0, 3600.0], DEVICE_HOURS),
        ([math.nan, 4000.0], DEVICE_HOURS),
        ([math.nan], DEVICE_SECONDS),
    ],
)
def test_hours_stand_where_the_longest_is_one(seconds: list[float], unit: Unit) -> None:
    assert unit_for(seconds) == unit
