"""An algorithm by its name: one of the catalogue, or of an installed package. Loads no torch of its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from types import MappingProxyType

from gga_sweep.algorithms.catalogue import ALGORITHMS
from gga_sweep.algorithms.declaration import AlgorithmSpec
from gga_sweep.errors import Fault, InputError


def get_algorithm(name: str, field: str = "algorithm") -> AlgorithmSpec:
    """A registered algorithm, or `module:Class` of an installed package.

    Attributes of such a class declare what `AlgorithmSpec` holds: `HYPERPARAMETERS` (its own) and `NUMERICS`, and where
    it differs from the default `MIN_DOMAINS`, `MIN_BATCH`, `NEEDS_BATCH_STATISTICS`, `SPLITS_BY_LAYER`,
    `HAS_JOINT_GRADIENT`, `TRANSDUCTIVE`, `PASSES`, `POLAR_FACTORS`.

    Raises:
        InputError: unknown name, or nothing to import there.
    """
    if (known := ALGORITHMS.get(name) or _DECLARED.get().get(name)) is not None:
        return known
    if ":" not in name:
        raise InputError([Fault(field, "unknown algorithm", name, (*ALGORITHMS, "module:Class"))])
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        traits = {each.name: getattr(found, each.name.upper()) for each in _TRAITS if hasattr(found, each.name.upper())}
        return AlgorithmSpec(name, numerics=found.NUMERICS, own=found.HYPERPARAMETERS, **traits)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError([Fault(field, f"cannot import it: {error}", name)]) from error


@contextmanager
def declared(algorithms: Mapping[str, AlgorithmSpec]) -> Iterator[None]:
    """Within the block `get_algorithm` returns these without importing their modules.

    A ledger keeps the declarations of its algorithms: its results are read without their code, or beside newer code.
    """
    before = _DECLARED.set(algorithms)
    try:
        yield
    finally:
        _DECLARED.reset(before)


_DECLARED: ContextVar[Mapping[str, AlgorithmSpec]] = ContextVar("declared", default=MappingProxyType({}))
_TRAITS = [each for each in fields(AlgorithmSpec) if each.name not in ("target", "numerics", "own")]
