"""The names of DomainBed's algorithms and datasets, in the order of its tables.

Facts of facebookresearch/DomainBed at HEAD b93c22a: `ALGORITHMS` of domainbed/algorithms.py; `DATASETS` and each
class's `ENVIRONMENTS` of domainbed/datasets.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gga_sweep.datasets import BENCHMARKS

ALGORITHMS = (
    *("ERM", "ERMPlusPlus", "Fish", "IRM", "GroupDRO", "Mixup", "MLDG", "CORAL", "MMD", "DANN", "CDANN", "MTL"),
    *("SagNet", "ARM", "VREx", "RSC", "SD", "ANDMask", "SANDMask", "IGA", "SelfReg", "Fishr", "TRM", "IB_ERM"),
    *("IB_IRM", "CAD", "CondCAD", "Transfer", "CausIRL_CORAL", "CausIRL_MMD", "EQRM", "RDM", "ADRMX", "URM"),
)
"""Its algorithms, in its order."""

_SPAWRIOUS = ("Test", "SC_group_1", "SC_group_2")

_LABELS = {name: entry.traits.domainbed_labels for name, entry in BENCHMARKS.items() if entry.traits.domainbed_labels}

DOMAINS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Debug28": ("0", "1", "2"),
        "Debug224": ("0", "1", "2"),
        "ColoredMNIST": ("+90%", "+80%", "-90%"),
        "RotatedMNIST": ("0", "15", "30", "45", "60", "75"),
        **{name: labels for name, labels in _LABELS.items() if not name.startswith("WILDS")},
        "SVIRO": ("aclass", "escape", "hilux", "i3", "lexus", "tesla", "tiguan", "tucson", "x5", "zoe"),
        **{name: labels for name, labels in _LABELS.items() if name.startswith("WILDS")},
        "SpawriousO2O_easy": _SPAWRIOUS,
        "SpawriousO2O_medium": _SPAWRIOUS,
        "SpawriousO2O_hard": _SPAWRIOUS,
        "SpawriousM2M_easy": _SPAWRIOUS,
        "SpawriousM2M_medium": _SPAWRIOUS,
        "SpawriousM2M_hard": _SPAWRIOUS,
    }
)
"""Its datasets, in its order, each with its labels of the domains."""
