"""The tree-structured Parzen estimator of Optuna (extra `search`), for one cell."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gga_sweep.distributions import Distribution
from gga_sweep.records import Scalar
from gga_sweep.spec.draws import contains, whole_bounds

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

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
        import optuna  # the extra `search`, imported only where it is used

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # each study would log its creation
        self._space = space
        self._distributions = {name: _to_optuna(searched) for name, searched in space.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `multivariate` was experimental before Optuna 5, `gamma` ends with it
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=1,
                n_ei_candidates=_CANDIDATES,
                gamma=_number_of_good,
                multivariate=True,
                seed=seed % 2**32,
            )
        self._study = optuna.create_study(sampler=sampler, direction="maximize")

    def tell(self, values: Mapping[str, Scalar], score: float) -> None:
        self._add(values, value=score)

    def tell_pruned(self, values: Mapping[str, Scalar], step: int, score: float) -> None:
        from optuna.trial import TrialState

        self._add(values, state=TrialState.PRUNED, intermediate_values={step: score})

    def suggest(self) -> dict[str, Scalar]:
        from optuna.trial import TrialState

        trial = self._study.ask(self._distributions)
        self._study.tell(trial, state=TrialState.FAIL)  # else it would count as a poor run in training
        return {name: _from_optuna(searched, trial.params[name]) for name, searched in self._space.items()}

    def _add(self, values: Mapping[str, Scalar], **result: Any) -> None:
        """Add a draw to the model, unless it is outside the space, as a protocol's defaults may be."""
        from optuna.trial import create_trial

        if all(contains(searched, values[name]) for name, searched in self._space.items()):
            params = {name: _into_optuna(searched, values[name]) for name, searched in self._space.items()}
            self._study.add_trial(create_trial(params=params, distributions=self._distributions, **result))


def _number_of_good(draws: int) -> int:
    return math.ceil(_GOOD_SHARE * draws)


def _to_optuna(searched: Distribution) -> BaseDistribution:
    """Choices by their positions, because Optuna treats 1 and true as equal."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if searched.choice is not None:
        return CategoricalDistribution(tuple(range(len(searched.choice))))
    log = searched.kind in ("loguniform", "logintegers")
    if searched.kind in ("integers", "logintegers"):
        return IntDistribution(*whole_bounds(searched), log=log)
    low, high = getattr(searched, searched.kind)
    return FloatDistribution(low, high, log=log)


def _into_optuna(searched: Distribution, value: Scalar) -> Scalar:
    if searched.choice is None:
        return value
    return next(
        place for place, choice in enumerate(searched.choice) if contains(Distribution(choice=(choice,)), value)
    )


def _from_optuna(searched: Distribution, value: Any) -> Scalar:
    plain: Scalar = value if searched.choice is None else searched.choice[value]
    return plain
