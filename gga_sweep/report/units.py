"""Device time in the unit that suits it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of device time: its name, and how many seconds it has."""

    name: str
    seconds: float


DEVICE_SECONDS = Unit("device-seconds", 1.0)
DEVICE_HOURS = Unit("device-hours", 3600.0)


def unit_for(seconds: Iterable[float]) -> Unit:
    """Hours where the longest is an hour or more, else seconds; NaN has no say."""
    return DEVICE_HOURS if any(value >= DEVICE_HOURS.seconds for value in seconds) else DEVICE_SECONDS
