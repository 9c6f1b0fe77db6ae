"""Optuna's samplers (extra `search`): one that a sweep file names, and the study of one cell that samplers work on."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gga_sweep.distributions import Distribution
from gga_sweep.errors import Fault, InputError
from gga_sweep.records import Scalar
from gga_sweep.spec.arm_values import searched_space
from gga_sweep.spec.draws import contains, draw_hyperparameters, whole_bounds
from gga_sweep.spec.models import AdaptiveConfig, SweepConfig
from gga_sweep.spec.own_code import source_digest
from gga_sweep.spec.plan import SweepSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial


@dataclass(frozen=True, slots=True)
class Searcher:
    """What decides suggestions beside the results that they are based on; stored with them.

    Args:
        search: of the sweep file.
        optuna: its version; other versions suggest other draws, of the same sampler and seed.
        arguments: of a sampler that the file names.
        source: the digest of its source.
    """

    search: str
    optuna: str
    arguments: Mapping[str, Scalar] = field(default_factory=dict)
    source: str = ""

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in sorted(self.arguments.items()))
        source = f" of the source {self.source[:8]}" if self.source else ""
        return f"{self.search}{f'({given})' if given else ''}{source} with Optuna {self.optuna}"


def names_sampler(config: SweepConfig) -> bool:
    """Whether its search is a sampler, `module:attribute`."""
    return ":" in config.search


def searcher_of(config: SweepConfig) -> Searcher:
    """The searcher that an adaptive search has here.

    Raises:
        InputError: the source of the sampler cannot be read.
    """
    version = importlib.metadata.version("optuna") if importlib.util.find_spec("optuna") else "not installed"
    if not names_sampler(config):
        return Searcher(config.search, version)
    return Searcher(config.search, version, _arguments(config), source_digest(config.search, "search"))


def make_sampler(config: SweepConfig, seed: int) -> BaseSampler:
    """The sampler that the sweep file names.

    Args:
        seed: in [0, 2**63).

    Raises:
        InputError: there is none, or not with these arguments.
    """
    from optuna.samplers import BaseSampler

    module, _, attribute = config.search.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError([Fault("search", f"cannot import it: {error}", config.search)]) from error
    rule = "must be an Optuna sampler: a subclass of optuna.samplers.BaseSampler, or a function that returns one"
    if not callable(found) or (isinstance(found, type) and not issubclass(found, BaseSampler)):
        raise InputError([Fault("search", rule, config.search)])
    parameters = inspect.signature(found).parameters
    anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    if "seed" not in parameters and not anything:
        seeded = "must have an argument `seed`: without it, the same results would not give the same suggestions"
        raise InputError([Fault("search", seeded, config.search)])
    given, allowed = _arguments(config), tuple(name for name in parameters if name != "seed")
    faults = [
        Fault(f"adaptive.arguments.{name}", f"no argument of {config.search}", value, allowed)
        for name, value in given.items()
        if name not in allowed and not anything
    ]
    if "seed" in given:
        rule = "is set by the sweep, from dataset and trial seed; leave it out"
        faults = [Fault("adaptive.arguments.seed", rule, given["seed"])]
    if faults:
        raise InputError(faults)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a sampler or an argument is experimental or deprecated
            sampler = found(**given, seed=seed % 2**32)
    except Exception as error:
        raise InputError([Fault("adaptive.arguments", f"{config.search} refuses them: {error}", {**given})]) from error
    if not isinstance(sampler, BaseSampler):
        raise InputError([Fault("search", rule, f"{config.search}, which returned {sampler!r}")])
    return sampler


def sampler_faults(sweep: SweepSpec) -> Iterator[Fault]:
    """Faults of the sampler that a sweep file names, which also suggests one draw of each arm as a rehearsal."""
    config = sweep.config
    if not names_sampler(config):
        if config.adaptive is not None and config.adaptive.arguments:
            rule = "needs `search: module:attribute`, whose arguments they are"
            yield Fault("adaptive.arguments", rule, {**config.adaptive.arguments})
        return
    try:
        make_sampler(config, 0)
        source_digest(config.search, "search")
        for arm in sweep.arms:
            if space := searched_space(sweep, arm):
                _rehearse(CellStudy(space, make_sampler(config, 0)), config.search)
    except InputError as error:
        yield from error.faults


def _rehearse(study: CellStudy, name: str) -> None:
    try:
        for draw in (1, 2):
            study.add(draw_hyperparameters(study.space, "by-name", "", "", 0, draw), draw / 4)
        study.ask()
    except Exception as error:
        raise InputError([Fault("search", f"cannot suggest a draw of this search space: {error}", name)]) from error


def _arguments(config: SweepConfig) -> Mapping[str, Scalar]:
    return (config.adaptive or AdaptiveConfig()).arguments


class CellStudy:
    """An Optuna study of one cell, or of cells that share their draws. It maximises.

    Args:
        space: the distributions by dotted name; at least one.
        sampler: suggests the draws.
    """

    def __init__(self, space: Mapping[str, Distribution], sampler: BaseSampler) -> None:
        import optuna  # the extra `search`, imported only where it is used

        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # each study would log its creation
        self.space = space
        self._distributions = {name: _to_optuna(searched) for name, searched in space.items()}
        self.study = optuna.create_study(sampler=sampler, direction="maximize")
        optuna.logging.set_verbosity(verbosity)

    def ask(self) -> Trial:
        """The sampler's next trial."""
        return self.study.ask(self._distributions)

    def values_of(self, trial: Trial) -> dict[str, Scalar]:
        """The values of a trial, by dotted name."""
        return {name: _from_optuna(searched, trial.params[name]) for name, searched in self.space.items()}

    def tell(self, trial: Trial, score: float, stopped_at: int | None) -> None:
        """Add the result of a trial.

        Args:
            score: higher is better.
            stopped_at: the step at which it was stopped early; None if it was trained to its end.
        """
        from optuna.trial import TrialState

        if stopped_at is None:
            self.study.tell(trial, score)
        else:
            trial.report(score, stopped_at)
            self.study.tell(trial, state=TrialState.PRUNED)

    def abandon(self, trial: Trial) -> None:
        """Mark a trial as failed: else it would count as one in training."""
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.FAIL)

    def holds(self, values: Mapping[str, Scalar]) -> bool:
        """Whether values lie in the space; a protocol's defaults may not."""
        return all(contains(searched, values[name]) for name, searched in self.space.items())

    def is_of(self, trial: Trial, values: Mapping[str, Scalar]) -> bool:
        """Whether a trial has these values."""
        return self.holds(values) and trial.params == self._params(values)

    def add(self, values: Mapping[str, Scalar], score: float, stopped_at: int | None = None) -> None:
        """Add a result of values that the sampler did not suggest, unless they are outside the space."""
        from optuna.trial import TrialState, create_trial

        if self.holds(values):
            result: dict[str, Any] = {"value": score}
            if stopped_at is not None:
                result = {"state": TrialState.PRUNED, "intermediate_values": {stopped_at: score}}
            self.study.add_trial(create_trial(params=self._params(values), distributions=self._distributions, **result))

    def _params(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        return {name: _into_optuna(searched, values[name]) for name, searched in self.space.items()}


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
