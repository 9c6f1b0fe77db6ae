"""The entries of the datasets with a name."""

from __future__ import annotations

import pytest

from gga_sweep.datasets import BENCHMARKS, describe
from gga_sweep.datasets.catalogue import FROM_FILES
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.domainbed.registry import DOMAINS


@pytest.mark.parametrize(
    ("name", "images", "classes", "domains"),
    [
        ("PACS", 9_991, 7, 4),
        ("VLCS", 10_729, 5, 4),
        ("OfficeHome", 15_588, 65, 4),
        ("TerraIncognita", 24_788, 10, 4),
        ("DomainNet", 586_575, 345, 6),
        *((name, 50_688, 4, 3) for name in BENCHMARKS if name.startswith("Spawrious")),
        ("WILDSCamelyon", 302_436 + 33_560 + 34_904 + 85_054, 2, 5),  # the splits of WILDS, which DomainBed merges
    ],
)
def test_domain_counts_sum_to_the_published_total(name: str, images: int, classes: int, domains: int) -> None:
    benchmark = BENCHMARKS[name]

    assert sum(benchmark.published_sizes.values()) == images
    assert benchmark.n_classes == classes
    assert len(benchmark.domain_sizes) == domains


@pytest.mark.parametrize("name", BENCHMARKS)
def test_domains_and_classes_are_sorted_and_as_many_as_declared(name: str) -> None:
    benchmark = BENCHMARKS[name]
    if benchmark.list_images is None:  # Spawrious has no folder for each domain
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


def test_of_sviro_the_vehicles_and_the_number_of_classes_are_known_but_no_counts() -> None:
    sviro = BENCHMARKS["SVIRO"]
    assert (len(sviro.domain_sizes), sviro.n_classes, sviro.published_sizes) == (10, 7, {})
    assert tuple(sviro.domain_sizes) == sviro.traits.domainbed_labels


def test_domainbeds_tables_have_the_datasets_in_its_order_with_labels_for_every_domain() -> None:
    assert list(DOMAINS) == [
        *("Debug28", "Debug224", "ColoredMNIST", "RotatedMNIST", "VLCS", "PACS", "OfficeHome", "TerraIncognita"),
        *("DomainNet", "SVIRO", "WILDSCamelyon", "WILDSFMoW", "SpawriousO2O_easy", "SpawriousO2O_medium"),
        *("SpawriousO2O_hard", "SpawriousM2M_easy", "SpawriousM2M_medium", "SpawriousM2M_hard"),
    ]
    assert DOMAINS["ColoredMNIST"] == ("+90%", "+80%", "-90%")
    assert DOMAINS["SpawriousM2M_hard"] == ("Test", "SC_group_1", "SC_group_2")
    for name, labels in DOMAINS.items():
        known = {**BENCHMARKS, **FROM_FILES}.get(name)
        domains = (
            describe(DatasetConfig(name=name)).domain_names if name in FROM_FILES else known and known.domain_sizes
        )
        assert domains is None or len(domains) == len(labels)
