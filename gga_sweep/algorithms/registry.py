"""An algorithm by its name: one of the catalogue, or of an installed package. Loads no torch of its own."""

from __future__ import annotations

import importlib
from dataclasses import fields

from gga_sweep.algorithms.catalogue import ALGORITHMS
from gga_sweep.algorithms.declaration import AlgorithmSpec
from gga_sweep.errors import Fault, InputError


def get_algorithm(name: str, field: str = "algorithm") -> AlgorithmSpec:
    """A registered algorithm, or `module:Class` of an installed package.

    Attributes of such a class declare what `AlgorithmSpec` holds: `HYPERPARAMETERS` (its own) and `NUMERICS`, and where
    it differs from the default `MIN_DOMAINS`, `MIN_BATCH`, `NEEDS_BATCH_STATISTICS`, `SPLITS_BY_LAYER`,
    `HAS_JOINT_GRADIENT`, `TRANSDUCTIVE`, `PASSES`.

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
        traits = {each.name: getattr(found, each.name.upper()) for each in _TRAITS if hasattr(found, each.name.upper())}
        return AlgorithmSpec(name, numerics=found.NUMERICS, own=found.HYPERPARAMETERS, **traits)
    except Exception as error:  # a module may raise anything while it is imported
        raise InputError([Fault(field, f"cannot import it: {error}", name)]) from error


_TRAITS = [each for each in fields(AlgorithmSpec) if each.name not in ("target", "numerics", "own")]
