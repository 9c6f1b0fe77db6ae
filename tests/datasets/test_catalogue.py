"""The entries of the datasets with a name."""

from __future__ import annotations

import pytest

from gga_sweep.datasets import BENCHMARKS


@pytest.mark.parametrize(
    ("name", "images", "classes", "domains"),
    [
        ("PACS", 9_991, 7, 4),
        ("VLCS", 10_729, 5, 4),
        ("OfficeHome", 15_588, 65, 4),
        ("TerraIncognita", 24_788, 10, 4),
        ("DomainNet", 586_575, 345, 6),
        ("WILDSCamelyon", 302_436 + 33_560 + 34_904 + 85_054, 2, 5),  # the splits of WILDS, which DomainBed merges
    ],
)
def test_domain_counts_sum_to_the_published_total(name: str, images: int, classes: int, domains: int) -> None:
    benchmark = BENCHMARKS[name]

    assert sum(size or 0 for size in benchmark.domain_sizes.values()) == images
    assert benchmark.n_classes == classes
    assert len(benchmark.domain_sizes) == domains


@pytest.mark.parametrize("name", BENCHMARKS)
def test_domains_and_classes_are_sorted_and_as_many_as_declared(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert list(benchmark.domain_sizes) == sorted(benchmark.domain_sizes)
    assert len(benchmark.traits.domainbed_labels) == len(benchmark.domain_sizes)
    if benchmark.classes is not None:
        assert benchmark.classes == tuple(sorted(set(benchmark.classes)))
        assert len(benchmark.classes) == benchmark.n_classes


def test_the_other_size_of_domain_net_is_larger_by_the_list_of_duplicates() -> None:
    (variant,) = BENCHMARKS["DomainNet"].variants
    assert variant.domain_sizes is not None
    assert list(variant.domain_sizes) == list(BENCHMARKS["DomainNet"].domain_sizes)
    assert sum(variant.domain_sizes.values()) == variant.images == 586_575 + 9_431
    assert [variant.images for variant in BENCHMARKS["TerraIncognita"].variants] == [24_330]
