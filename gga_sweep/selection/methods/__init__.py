"""The selection methods: each module of this folder declares one as its `METHOD`."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import MappingProxyType

from gga_sweep.selection.declaration import Method
from gga_sweep.selection.methods.training_validation import METHOD as _DEFAULT

DEFAULT_METHOD = _DEFAULT.name

_FOUND: list[Method] = [import_module(f"{__name__}.{module.name}").METHOD for module in pkgutil.iter_modules(__path__)]

METHODS: Mapping[str, Method] = MappingProxyType(
    {method.name: method for method in sorted(_FOUND, key=lambda method: (method is not _DEFAULT, method.name))}
)
"""By name, the default one first."""


def reading_more_tests(names: Iterable[str], stops_early: bool) -> tuple[str, ...]:
    """Those of the methods that read scores on test domains which `training.evaluate: selection` leaves out.

    Args:
        stops_early: whether runs may be stopped before their last step.
    """
    more = {"every", "last"} if stops_early else {"every"}
    return tuple(name for name in names if METHODS[name].reads_tests in more)


def needing_pairs(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the methods that need runs with pairs of test domains."""
    return tuple(name for name in names if METHODS[name].needs_pairs)
