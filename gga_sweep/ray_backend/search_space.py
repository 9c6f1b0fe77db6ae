"""Converts a sweep's search space to Tune's."""

from __future__ import annotations

import math
from typing import Any

from ray import tune

from gga_sweep.distributions import Distribution
from gga_sweep.errors import Fault, InputError
from gga_sweep.spec import SweepSpec
from gga_sweep.spec.arm_values import searched_space


def param_space(sweep: SweepSpec) -> dict[str, Any]:
    """The search space of a sweep for your own `tune.Tuner`.

    It has the arm, test domain, trial seed and every searched hyperparameter by dotted name, and no `grid_search`,
    which most searchers refuse. A run ignores hyperparameters that its arm lacks or fixes.

    Args:
        sweep: from `gga_sweep.load`.

    Raises:
        InputError: the sweep's hyperparameters are chosen already.

    Example:
        >>> from gga_sweep import load
        >>> sorted(param_space(load("demo")))
        ['arm', 'lr', 'test_domain', 'trial_seed']
    """
    if sweep.config.chosen is not None:
        raise InputError([Fault("chosen", "leaves nothing to search; run the sweep as it is")], sweep.source)
    space: dict[str, Any] = {
        "arm": tune.choice([arm.name for arm in sweep.arms]),
        "test_domain": tune.choice(["+".join(names) for names in sweep.test_domains]),
        "trial_seed": tune.choice(list(sweep.config.trial_seeds)),
    }
    for arm in sweep.arms:
        for name, searched in searched_space(sweep, arm).items():
            space[name] = to_tune(searched)
    return space


def to_tune(searched: Distribution) -> Any:
    """The same distribution for Tune; `logintegers` with fractional ends gives the same whole numbers."""
    if searched.choice is not None:
        return tune.choice(list(searched.choice))
    low, high = getattr(searched, searched.kind)
    if searched.kind == "uniform":
        return tune.uniform(low, high)
    if searched.kind == "loguniform" and low == high:
        return tune.choice([low])  # rounding of the logarithm could leave the range
    if searched.kind == "loguniform":
        return tune.loguniform(low, high)
    if searched.kind == "integers":
        return tune.randint(low, high + 1)
    return tune.lograndint(int(low), max(int(low) + 1, math.ceil(high)))
