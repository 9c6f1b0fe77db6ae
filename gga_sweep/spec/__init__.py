"""From a sweep file to the runs it needs: reading, checking, arms, draws, plan.

Names are loaded when first used, so that training needs no parser of sweep files.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gga_sweep.spec.arms import Arm
    from gga_sweep.spec.content_digests import read_contents
    from gga_sweep.spec.loading import load
    from gga_sweep.spec.plan import Contents, Outline, Plan, PlannedRun, SweepSpec
    from gga_sweep.spec.runs import outline_sweep, plan_sweep, searched_run

_HOMES = {
    "Arm": "arms",
    "Contents": "plan",
    "Outline": "plan",
    "Plan": "plan",
    "PlannedRun": "plan",
    "SweepSpec": "plan",
    "load": "loading",
    "outline_sweep": "runs",
    "plan_sweep": "runs",
    "read_contents": "content_digests",
    "searched_run": "runs",
}

__all__ = [
    "Arm",
    "Contents",
    "Outline",
    "Plan",
    "PlannedRun",
    "SweepSpec",
    "load",
    "outline_sweep",
    "plan_sweep",
    "read_contents",
    "searched_run",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
