"""The published table of the five benchmarks."""

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
    ],
)
def test_domain_counts_sum_to_the_published_total(name: str, images: int, classes: int, domains: int) -> None:
    benchmark = BENCHMARKS[name]

    assert sum(benchmark.domain_sizes.values()) == images
    assert benchmark.n_classes == classes
    assert len(benchmark.domain_sizes) == domains


def test_there_are_no_other_benchmarks() -> None:
    assert list(BENCHMARKS) == ["PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_domains_stand_in_the_order_of_their_folders(name: str) -> None:
    domains = list(BENCHMARKS[name].domain_sizes)
    assert domains == sorted(domains)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_listed_classes_are_sorted_and_as_many_as_published(name: str) -> None:
    benchmark = BENCHMARKS[name]
    if name == "DomainNet":
        assert benchmark.classes is None
    else:
        assert benchmark.classes == tuple(sorted(set(benchmark.classes or ())))
        assert len(benchmark.classes) == benchmark.n_classes


def test_the_other_size_of_domain_net_is_larger_by_the_list_of_duplicates() -> None:
    (variant,) = BENCHMARKS["DomainNet"].variants
    assert variant.domain_sizes is not None
    assert list(variant.domain_sizes) == list(BENCHMARKS["DomainNet"].domain_sizes)
    assert sum(variant.domain_sizes.values()) == variant.images == 586_575 + 9_431
    assert [variant.images for variant in BENCHMARKS["TerraIncognita"].variants] == [24_330]
