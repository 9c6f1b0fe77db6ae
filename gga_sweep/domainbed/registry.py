"""The names of DomainBed's algorithms and datasets, in the order of its tables.

Facts of facebookresearch/DomainBed at HEAD b93c22a: `ALGORITHMS` of domainbed/algorithms.py; `DATASETS` and each
class's `ENVIRONMENTS` of domainbed/datasets.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gga_sweep.datasets.catalogue import BENCHMARKS, FROM_FILES

ALGORITHMS = (
    *("ERM", "ERMPlusPlus", "Fish", "IRM", "GroupDRO", "Mixup", "MLDG", "CORAL", "MMD", "DANN", "CDANN", "MTL"),
    *("SagNet", "ARM", "VREx", "RSC", "SD", "ANDMask", "SANDMask", "IGA", "SelfReg", "Fishr", "TRM", "IB_ERM"),
    *("IB_IRM", "CAD", "CondCAD", "Transfer", "CausIRL_CORAL", "CausIRL_MMD", "EQRM", "RDM", "ADRMX", "URM"),
)
"""Its algorithms, in its order."""

DOMAINS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Debug28": ("0", "1", "2"),
        "Debug224": ("0", "1", "2"),
        **{name: entry.traits.domainbed_labels for name, entry in FROM_FILES.items()},
        **{name: entry.traits.domainbed_labels for name, entry in BENCHMARKS.items()},
    }
)
"""Its datasets, in its order, each with its labels of the domains."""
