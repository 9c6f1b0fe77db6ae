"""Draws: the values that a draw number stands for, and the points of a grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from gga_sweep.distributions import Distribution
from gga_sweep.errors import Fault, InputError
from gga_sweep.records import Scalar
from gga_sweep.seeding import seed_hash, stream
from gga_sweep.spec.protocols import DOMAINBED_NAMES, Sampler, domainbed_row

Numbers = np.random.Generator | np.random.RandomState


def draw_hyperparameters(
    space: Mapping[str, Distribution], sampler: Sampler, algorithm: str, dataset: str, trial_seed: int, draw: int
) -> dict[str, Scalar]:
    """The values of one draw, in the order of `space`. The draw of a name does not depend on the other names.

    - `by-name`: each hyperparameter has a stream of its own.
    - `domainbed`: DomainBed draws its `domainbed_row` name after name from a single generator, an algorithm's own names
      last, so that all algorithms share the others. The row is always drawn whole, from DomainBed's own ranges, so a
      name that an arm fixes or a file leaves out moves no other. A name searched over DomainBed's very range takes its
      value from the row; a name with another range, or one DomainBed did not know then, has a generator of its own (as
      every name has in later versions of DomainBed). Source: facebookresearch/DomainBed, domainbed/hparams_registry.py
      at 7df6f06 (the row) and b93c22a (by name).
    - `domainbed-head`: each hyperparameter has a generator of its own, seeded by DomainBed's name for it. Source: the
      same file at b93c22a.

    Args:
        space: what is searched, by dotted name.
        sampler: the protocol's.
        algorithm, dataset: their names; under `domainbed` they decide the names and ranges of the row.
        trial_seed: non-negative; two trial seeds have different draws.
        draw: from 1 on; draw 0 is the defaults and is not drawn.

    Raises:
        InputError: a draw below 1.
    """
    if draw < 1:
        raise InputError([Fault("draw", "must be at least 1 (0 stands for the defaults)", draw)])
    if sampler == "domainbed":
        return _draw_as_domainbed(space, algorithm, dataset, seed_hash(draw, trial_seed))
    if sampler == "domainbed-head":
        return _draw_as_domainbed_head(space, seed_hash(draw, trial_seed))
    return {
        name: _sample(searched, stream(dataset, trial_seed, "draw", draw, name)) for name, searched in space.items()
    }


def grid_points(space: Mapping[str, Distribution]) -> tuple[dict[str, Scalar], ...]:
    """Every combination of the choices, the last name varying fastest; an empty space has one empty point.

    Raises:
        InputError: naming every hyperparameter whose distribution is not a `choice`.
    """
    faults = [
        Fault(f"search_space.{name}", "must be a choice in a grid", searched.kind, ("choice",))
        for name, searched in space.items()
        if searched.choice is None
    ]
    if faults:
        raise InputError(faults)
    choices = (searched.choice or () for searched in space.values())
    return tuple(dict(zip(space, point, strict=True)) for point in itertools.product(*choices))


def contains(distribution: Distribution, value: Scalar) -> bool:
    """Whether a draw could give this value: ends included, save the open upper end of `logintegers`.

    Of `logintegers` [low, high) the smallest is int(low). 8 and 8.0 are one value; true and 1 are two.
    """
    if distribution.choice is not None:
        return any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in distribution.choice
        )
    if isinstance(value, bool | str):
        return False
    if distribution.kind == "uniform" or distribution.kind == "loguniform":
        low, high = _bounds(distribution)
        return low <= value <= high
    smallest, largest = whole_bounds(distribution)
    return smallest <= value <= largest and value == int(value)


def _draw_as_domainbed(space: Mapping[str, Distribution], algorithm: str, dataset: str, seed: int) -> dict[str, Scalar]:
    ranges, row = domainbed_row(algorithm, dataset), _domainbed_row(algorithm, dataset, seed)
    return {
        name: row[name]
        if ranges.get(name) == searched
        else _sample(searched, np.random.RandomState(seed_hash(seed, name)))
        for name, searched in space.items()
    }


@lru_cache(maxsize=4096)  # the arms of a sweep share its draws
def _domainbed_row(algorithm: str, dataset: str, seed: int) -> Mapping[str, Scalar]:
    numbers = np.random.RandomState(seed)
    return {name: _sample(searched, numbers) for name, searched in domainbed_row(algorithm, dataset).items()}


def _draw_as_domainbed_head(space: Mapping[str, Distribution], seed: int) -> dict[str, Scalar]:
    return {
        name: _sample(searched, np.random.RandomState(seed_hash(seed, DOMAINBED_NAMES.get(name, name))))
        for name, searched in space.items()
    }


def _sample(distribution: Distribution, numbers: Numbers) -> Scalar:
    """One value. Powers of 10 for floats and of 2 for integers, and int(U), as in DomainBed, to give its bits."""
    if distribution.choice is not None:
        return distribution.choice[_index(numbers, len(distribution.choice))]
    low, high = _bounds(distribution)
    if distribution.kind == "uniform":
        return _clip(numbers.uniform(low, high), low, high)
    if distribution.kind == "loguniform":
        return _clip(10 ** numbers.uniform(math.log10(low), math.log10(high)), low, high)
    smallest, largest = whole_bounds(distribution)
    if distribution.kind == "logintegers":
        drawn = int(2 ** numbers.uniform(math.log2(low), math.log2(high)))
    elif isinstance(numbers, np.random.RandomState):
        drawn = math.floor(numbers.uniform(smallest, largest + 1))
    else:
        return smallest + _index(numbers, largest - smallest + 1)
    return min(max(drawn, smallest), largest)


def _bounds(distribution: Distribution) -> tuple[float, float]:
    bounds: tuple[float, float] = getattr(distribution, distribution.kind)
    return bounds


def whole_bounds(distribution: Distribution) -> tuple[int, int]:
    """The smallest and the largest value of `integers` or `logintegers`, both included."""
    low, high = _bounds(distribution)
    if distribution.kind == "integers":
        return int(low), int(high)
    return math.floor(low), max(math.floor(low), math.ceil(high) - 1)


def _clip(value: float, low: float, high: float) -> float:
    """Rounding of the logarithm must not lead out of the range."""
    return min(max(float(value), low), high)


def _index(numbers: Numbers, length: int) -> int:
    """A position below `length`; on a `RandomState` the one its `choice` takes."""
    if isinstance(numbers, np.random.Generator):
        return int(numbers.integers(length))
    return int(numbers.randint(length))
