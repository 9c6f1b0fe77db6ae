"""The algorithms by name: their hyperparameters, their numerics, where they live. Loads no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gga_sweep.errors import Fault, InputError
from gga_sweep.records import Scalar

if TYPE_CHECKING:
    from gga_sweep.algorithms.base import Algorithm


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """One that an algorithm has.

    Args:
        default: used where neither file nor protocol gives one; its type is the hyperparameter's.
        low, high: the values that make sense, ends included save `high` where `open_high`.
        doc: meaning and unit.
    """

    default: Scalar
    low: float
    high: float
    doc: str
    open_low: bool = False
    open_high: bool = False

    def fault(self, field: str, value: object) -> Fault | None:
        """What is wrong with a value, if anything."""
        kind = int if isinstance(self.default, int) else float
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not isinstance(value, int | float) or (kind is int and not whole):
            return Fault(field, f"must be {'a whole number' if kind is int else 'a number'}", value)
        below = value <= self.low if self.open_low else value < self.low
        above = value >= self.high if self.open_high else value > self.high
        if below or above or value != value:
            low, high = "(" if self.open_low else "[", ")" if self.open_high else "]"
            return Fault(field, f"must lie in {low}{self.low:g}, {self.high:g}{high}", value)
        return None

    def coerce(self, value: Scalar) -> Scalar:
        """One type a hyperparameter, so that 1 and 1.0 give one key."""
        return int(value) if isinstance(self.default, int) else float(value)


TRAINING_HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    "lr": Hyperparameter(1e-3, 0, 100, "learning rate of Adam", open_low=True),
    "batch_size": Hyperparameter(32, 1, 1_000_000, "images per training domain in a minibatch"),
    "weight_decay": Hyperparameter(0.0, 0, 100, "L2 penalty inside Adam"),
    "dropout": Hyperparameter(0.0, 0, 1, "share of features dropped in training", open_high=True),
}
"""What every algorithm has."""


@dataclass(frozen=True, slots=True)
class AlgorithmSpec:
    """One algorithm.

    Args:
        target: `module:Class`, a subclass of `algorithms.base.Algorithm`.
        numerics: raised when a fix changes results; part of the key of its runs.
        own: its own hyperparameters, beside the training ones.
    """

    target: str
    numerics: int
    own: Mapping[str, Hyperparameter]

    @property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        return {**TRAINING_HYPERPARAMETERS, **self.own}

    def load(self) -> type[Algorithm]:
        module, _, name = self.target.partition(":")
        return cast("type[Algorithm]", getattr(importlib.import_module(module), name))


ALGORITHMS: Mapping[str, AlgorithmSpec] = {
    "ERM": AlgorithmSpec("gga_sweep.algorithms.erm:ERM", numerics=1, own={}),
}


def get_algorithm(name: str, field: str = "algorithm") -> AlgorithmSpec:
    """A registered algorithm, or `module:Class` of an installed package.

    A class named so tells its own hyperparameters and numerics by its attributes `HYPERPARAMETERS` and `NUMERICS`.

    Raises:
        InputError: unknown name, or nothing to import there.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    if ":" not in name:
        raise InputError([Fault(field, "unknown algorithm", name, (*ALGORITHMS, "module:Class"))])
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        return AlgorithmSpec(name, numerics=found.NUMERICS, own=found.HYPERPARAMETERS)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError([Fault(field, f"cannot import it: {error}", name)]) from error
