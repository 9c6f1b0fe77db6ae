"""The built-in networks: each module of this folder declares those of a family in its own `NETWORKS`."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from gga_sweep.networks.declaration import NetworkSpec

_FAMILIES = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]

NETWORKS: Mapping[str, NetworkSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in sorted(
            (spec for family in _FAMILIES for spec in family.NETWORKS), key=lambda spec: (bool(spec.weights), spec.name)
        )
    }
)
"""By name; those without published weights come first."""
