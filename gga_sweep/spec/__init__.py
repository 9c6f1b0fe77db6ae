"""From a sweep file to the runs it needs: reading, checking, arms, draws, plan."""

from gga_sweep.spec.arms import Arm
from gga_sweep.spec.content_digests import read_contents
from gga_sweep.spec.loading import load
from gga_sweep.spec.plan import Contents, Outline, Plan, PlannedRun, SweepSpec
from gga_sweep.spec.runs import outline_sweep, plan_sweep, searched_run

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
