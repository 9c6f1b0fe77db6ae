"""Checks of weight averaging, and the names of averaged weights in tables."""

from __future__ import annotations

from collections.abc import Iterator

from gga_sweep.errors import Fault
from gga_sweep.spec.counted_work import evaluations
from gga_sweep.spec.models import AveragingConfig
from gga_sweep.spec.plan import SweepSpec


def averaged_name(name: str, averaging: AveragingConfig) -> str:
    """The name of an arm's averaged weights: "ERM + GGA, radius 1e-5" becomes "ERM + GGA + SWAD, radius 1e-5"."""
    head, comma, tail = name.partition(", ")
    return f"{head} + {averaging.method.upper()}{comma}{tail}"


def averaging_faults(sweep: SweepSpec) -> Iterator[Fault]:
    """Too few evaluations to find a valley, and arms named like another arm's averaged weights."""
    training = sweep.training
    if training.averaging is None:
        return
    of_a_run = evaluations(training)
    if training.averaging.n_converge > of_a_run:
        rule = (
            f"must be at most the number of a run's evaluations, {of_a_run} (steps {training.steps}, "
            f"evaluate_every {training.evaluate_every})"
        )
        yield Fault("training.averaging.n_converge", rule, training.averaging.n_converge)
    names = {averaged_name(arm.name, training.averaging) for arm in sweep.arms}
    for arm in sweep.arms:
        if arm.name in names:
            rule = "must not be what the averaged weights of another arm are called"
            yield Fault(f"arms[{arm.index}].name", rule, arm.name)
