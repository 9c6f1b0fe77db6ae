"""The five benchmarks of DomainBed, as published.

Folder names are those of DomainBed's trees (facebookresearch/DomainBed, domainbed/datasets.py and scripts/download.py);
counts are DomainBed's, per domain as commonly quoted. Today's download of TerraIncognita holds 24,330 images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """A known tree `domain/class/image`.

    Args:
        name: as DomainBed calls it.
        domain_sizes: published number of images of each domain, in dataset order (sorted folder names).
        n_classes: class folders in each domain.
    """

    name: str
    domain_sizes: Mapping[str, int]
    n_classes: int


BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("PACS", {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}, 7),
        Benchmark("VLCS", {"Caltech101": 1415, "LabelMe": 2656, "SUN09": 3282, "VOC2007": 3376}, 5),
        Benchmark("OfficeHome", {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real World": 4357}, 65),
        Benchmark(
            "TerraIncognita", {"location_100": 4879, "location_38": 9767, "location_43": 4020, "location_46": 6122}, 10
        ),
        Benchmark(
            "DomainNet",
            {
                "clipart": 48129,
                "infograph": 51605,
                "painting": 72266,
                "quickdraw": 172500,
                "real": 172947,
                "sketch": 69128,
            },
            345,
        ),
    )
}
