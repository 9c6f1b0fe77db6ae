"""The declaration of an algorithm: hyperparameters, and requirements on a run. Loads no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from gga_sweep.distributions import Distribution
from gga_sweep.errors import Fault
from gga_sweep.records import Scalar

if TYPE_CHECKING:
    from gga_sweep.algorithms.base import Algorithm


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """A hyperparameter of an algorithm.

    Args:
        default: used where neither file nor protocol gives one; its type is the hyperparameter's.
        low, high: the range of sensible values, ends included, except `high` if `open_high`; unused for true or false.
        doc: meaning and unit.
        random: DomainBed's distribution of its random search; None if DomainBed does not search it.
        below_domains: it must stay below the number of training domains.
    """

    default: Scalar
    low: float
    high: float
    doc: str
    open_low: bool = False
    open_high: bool = False
    random: Distribution | None = None
    below_domains: bool = False

    def fault(self, field: str, value: object) -> Fault | None:
        """The fault of a value; None if it is valid."""
        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else Fault(field, "must be true or false", value)
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
        """The value in the hyperparameter's type, so that 1 and 1.0 give one key."""
        return type(self.default)(value)


@dataclass(frozen=True, slots=True)
class AlgorithmSpec:
    """One algorithm.

    Args:
        target: `module:Class`, a subclass of `algorithms.base.Algorithm`.
        numerics: raised when a fix changes results; part of the key of its runs.
        own: its own hyperparameters, beside the training ones.
        min_domains: training domains that its update needs.
        min_batch: images a training domain that its update needs.
        needs_batch_statistics: its update needs batch norm that is not frozen.
        splits_by_layer: `joint_logits` is one forward of the concatenated minibatches in which no domain sees another,
            so that the annealing may compute domain gradients layer by layer.
        has_joint_gradient: its update ends in one step of `optimizer` along one gradient, to which GGA-L can add.
        transductive: its prediction for an image depends on the other images of the batch, in evaluation too.
        passes: forwards and backwards of the joint minibatch in its update, relative to those of ERM.
        polar_factors: its update has the polar factor of every matrix of weights, which no image makes cheaper.
    """

    target: str
    numerics: int
    own: Mapping[str, Hyperparameter] = field(default_factory=dict)
    min_domains: int = 1
    min_batch: int = 1
    needs_batch_statistics: bool = False
    splits_by_layer: bool = True
    has_joint_gradient: bool = True
    transductive: bool = False
    passes: float = 1.0
    polar_factors: bool = False

    @property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        return {**TRAINING_HYPERPARAMETERS, **self.own}

    def load(self) -> type[Algorithm]:
        module, _, name = self.target.partition(":")
        return cast("type[Algorithm]", getattr(importlib.import_module(module), name))


TRAINING_HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    "lr": Hyperparameter(1e-3, 0, 100, "learning rate of Adam", open_low=True),
    "batch_size": Hyperparameter(32, 1, 1_000_000, "images per training domain in a minibatch"),
    "weight_decay": Hyperparameter(0.0, 0, 100, "L2 penalty inside Adam"),
    "dropout": Hyperparameter(0.0, 0, 1, "share of features dropped in training", open_high=True),
}
"""The hyperparameters of every algorithm. DomainBed's ranges depend on the dataset: `spec.protocols`."""
