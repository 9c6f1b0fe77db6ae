"""The tree-structured Parzen estimator of Optuna (extra `search`), for one cell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

from gga_sweep.distributions import Distribution
from gga_sweep.records import Scalar
from gga_sweep.spec.samplers import CellStudy

_GOOD_SHARE = 0.2
"""Share of the finished draws whose neighbourhood is searched. Optuna's tenth would be one to four draws of a cell."""

_CANDIDATES = 64
"""Points evaluated for a suggestion; more than Optuna's 24, since a training costs much more."""


class TPESearch:
    """Suggests the draws of one cell, by a multivariate model: all hyperparameters are drawn jointly.

    Optuna's random draws at the start are not used: the caller makes these.

    Args:
        space: the distributions by dotted name; at least one.
        seed: in [0, 2**63).
    """

    def __init__(self, space: Mapping[str, Distribution], seed: int) -> None:
        from optuna.samplers import TPESampler

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `multivariate` was experimental before Optuna 5, `gamma` ends with it
            sampler = TPESampler(
                n_startup_trials=1,
                n_ei_candidates=_CANDIDATES,
                gamma=_number_of_good,
                multivariate=True,
                constant_liar=False,  # no trial is in training here; Optuna 5 has another default than 4
                seed=seed % 2**32,
            )
        self._study = CellStudy(space, sampler)

    def tell(self, values: Mapping[str, Scalar], score: float) -> None:
        self._study.add(values, score)

    def tell_pruned(self, values: Mapping[str, Scalar], step: int, score: float) -> None:
        self._study.add(values, score, step)

    def suggest(self) -> dict[str, Scalar]:
        trial = self._study.ask()
        self._study.abandon(trial)
        return self._study.values_of(trial)


def _number_of_good(draws: int) -> int:
    return math.ceil(_GOOD_SHARE * draws)
