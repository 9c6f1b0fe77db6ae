"""From a sweep file to the runs it needs: reading, checking, arms, draws, plan."""

from gga_sweep.spec.loading import load
from gga_sweep.spec.plan import Arm, Contents, Plan, PlannedRun, Sweep
from gga_sweep.spec.runs import plan_sweep, read_contents, searched_run

__all__ = [
    "Arm",
    "Contents",
    "Plan",
    "PlannedRun",
    "Sweep",
    "load",
    "plan_sweep",
    "read_contents",
    "searched_run",
]
