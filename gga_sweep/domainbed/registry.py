"""The names of DomainBed's algorithms and datasets, in the order of its tables.

Facts of facebookresearch/DomainBed at HEAD b93c22a: `ALGORITHMS` of domainbed/algorithms.py; `DATASETS` and each
class's `ENVIRONMENTS` of domainbed/datasets.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gga_sweep.datasets import traits_of

ALGORITHMS = (
    *("ERM", "ERMPlusPlus", "Fish", "IRM", "GroupDRO", "Mixup", "MLDG", "CORAL", "MMD", "DANN", "CDANN", "MTL"),
    *("SagNet", "ARM", "VREx", "RSC", "SD", "ANDMask", "SANDMask", "IGA", "SelfReg", "Fishr", "TRM", "IB_ERM"),
    *("IB_IRM", "CAD", "CondCAD", "Transfer", "CausIRL_CORAL", "CausIRL_MMD", "EQRM", "RDM", "ADRMX", "URM"),
)
"""Its algorithms, in its order."""

_DATASETS = (
    *("Debug28", "Debug224", "ColoredMNIST", "RotatedMNIST", "VLCS", "PACS", "OfficeHome", "TerraIncognita"),
    *("DomainNet", "SVIRO", "WILDSCamelyon", "WILDSFMoW", "SpawriousO2O_easy", "SpawriousO2O_medium"),
    *("SpawriousO2O_hard", "SpawriousM2M_easy", "SpawriousM2M_medium", "SpawriousM2M_hard"),
)

_NOT_IN_CATALOGUE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Debug28": ("0", "1", "2"),
        "Debug224": ("0", "1", "2"),
        "WILDSCamelyon": ("hospital_0", "hospital_1", "hospital_2", "hospital_3", "hospital_4"),
        "WILDSFMoW": ("region_0", "region_1", "region_2", "region_3", "region_4", "region_5"),
    }
)

DOMAINS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {name: traits_of(name).domainbed_labels or _NOT_IN_CATALOGUE[name] for name in _DATASETS}
)
"""Its datasets, in its order, each with its labels of the domains."""
