"""Datasets by name."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sweep_content import content

from gga_sweep.datasets import (
    BENCHMARKS,
    Benchmark,
    Dataset,
    DatasetDescription,
    Domain,
    check_dataset,
    dataset_digest,
    describe,
    digest_of_tensors,
    known_datasets,
    load_dataset,
    registry,
    uncounted_benchmarks,
)
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.dataset_check import DomainCount
from gga_sweep.datasets.registry import decoded_bytes, holds_photographs, what_root_must_be
from gga_sweep.errors import InputError
from gga_sweep.spec import load

WriteTree = Callable[..., Path]

COUNTED = [name for name, benchmark in BENCHMARKS.items() if benchmark not in uncounted_benchmarks()]
TOY = Benchmark("PACS", {"art": 12, "photo": 12, "sketch": 12, "toy box": 12}, 3)


def config(name: str, root: Path | None = None, image_size: int | None = None) -> DatasetConfig:
    return DatasetConfig(name=name, root=root, image_size=image_size)


@pytest.fixture
def toy_pacs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PACS, as if it had been published with the few images of the written tree."""
    monkeypatch.setattr(registry, "BENCHMARKS", {**BENCHMARKS, "PACS": TOY})


@pytest.mark.parametrize("name", ["RotatedDigits", "ColoredDigits"])
def test_embedded_digits_are_described_as_they_load(name: str) -> None:
    description = describe(config(name))
    dataset = load_dataset(config(name), None)

    assert description.name == dataset.name == name
    assert description.domain_sizes == {domain.name: len(domain) for domain in dataset.domains}
    assert description.domain_names == dataset.domain_names
    assert description.classes == dataset.classes
    assert description.n_classes == len(dataset.classes) == int(dataset.domains[0].labels.max()) + 1
    assert description.image_shape == dataset.input_shape
    assert description.available
    assert dataset_digest(config(name), None) == dataset.digest
    check = check_dataset(config(name))
    assert {domain.name: domain.found for domain in check.domains} == description.domain_sizes
    assert (check.faults, check.classes) == ((), dataset.classes)


def test_the_description_of_colored_digits_tells_what_each_cue_reaches() -> None:
    remarks = " ".join(describe(config("ColoredDigits")).remarks)
    assert "stress test of selection" in remarks
    assert "domain 10: shape alone reaches 0.75" in remarks
    assert "colour alone 0.10" in remarks


@pytest.mark.parametrize(("field", "value"), [("root", Path("somewhere")), ("image_size", 64)])
def test_options_that_digits_do_not_have_are_refused(field: str, value: object) -> None:
    digits = DatasetConfig.model_validate({"name": "RotatedDigits", field: value})
    with pytest.raises(InputError, match=rf"dataset\.{field}: RotatedDigits is embedded and has none, got '{value}'"):
        describe(digits)


def test_a_tree_is_described_as_it_loads(write_tree: WriteTree, tmp_path: Path) -> None:
    folder = config("ImageFolder", write_tree(), 24)
    description = describe(folder)
    dataset = load_dataset(folder, tmp_path / "cache")

    assert description.domain_sizes == {domain.name: len(domain) for domain in dataset.domains}
    assert description.classes == dataset.classes
    assert description.image_shape == dataset.input_shape == (3, 24, 24)
    assert dataset_digest(folder, tmp_path / "cache") == dataset_digest(folder, None) == dataset.digest
    assert check_dataset(folder).faults == ()


def test_photographs_are_stored_at_224_pixels_by_default(write_tree: WriteTree) -> None:
    tree = config("ImageFolder", write_tree(classes=("cat", "dog"), per_class=1))
    assert describe(tree).image_shape == load_dataset(tree, None).input_shape == (3, 224, 224)


def test_a_tree_needs_its_root(tmp_path: Path) -> None:
    for act in (describe, lambda wrong: load_dataset(wrong, None), lambda wrong: dataset_digest(wrong, None)):
        with pytest.raises(InputError, match=r"dataset\.root: ImageFolder needs the folder"):
            act(config("ImageFolder"))
        with pytest.raises(InputError, match="nowhere"):
            act(config("ImageFolder", tmp_path / "nowhere"))


@pytest.mark.parametrize("root", [None, Path("nowhere")])
@pytest.mark.parametrize("name", COUNTED)
def test_a_benchmark_whose_root_is_missing_is_described_as_published(name: str, root: Path | None) -> None:
    description = describe(config(name, root))
    assert not description.available
    assert description.domain_sizes == BENCHMARKS[name].domain_sizes
    assert description.n_classes == BENCHMARKS[name].n_classes
    assert description.classes is None
    what = what_root_must_be(name).removeprefix("the ")
    for act in (lambda wrong: load_dataset(wrong, None), check_dataset):
        with pytest.raises(InputError, match=what):
            act(config(name, root))


@pytest.mark.parametrize("root", [None, Path("nowhere")])
def test_a_benchmark_without_published_counts_needs_its_root_to_be_described(root: Path | None) -> None:
    with pytest.raises(InputError, match="SVIRO needs its folder, since the images of each domain are not published"):
        describe(config("SVIRO", root))


def test_sviro_is_a_tree_of_ten_vehicles_with_seven_classes(write_tree: WriteTree) -> None:
    vehicles = tuple(BENCHMARKS["SVIRO"].domain_sizes)
    root = write_tree(domains=vehicles, classes=tuple("0123456"), per_class=2)
    (root / "mask").mkdir()
    description = describe(config("SVIRO", root, 16))
    assert (description.domain_names, description.n_classes, description.available) == (vehicles, 7, True)
    check = check_dataset(config("SVIRO", root))
    assert check.domains[0] == DomainCount("aclass", 14, None)
    assert [str(fault.got) for fault in check.faults] == ["mask"]
    (root / "mask").rmdir()
    assert check_dataset(config("SVIRO", root)).in_words == "SVIRO: 7 classes, 140 images"
    shutil.rmtree(root / "zoe" / "6")
    with pytest.raises(InputError, match="domain 'zoe' must have the class folders of the other domains, lacks"):
        describe(config("SVIRO", root))


OFFICE = Benchmark(
    "OfficeHome",
    {"Art": 6, "Clipart": 6, "Product": 6, "Real World": 6},
    2,
    aliases=BENCHMARKS["OfficeHome"].aliases,
)


@pytest.mark.parametrize("folder", ["Real World", "Real_World", "RealWorld"])
def test_the_fourth_domain_of_office_home_may_be_written_in_three_ways(
    folder: str, write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "BENCHMARKS", {**BENCHMARKS, "OfficeHome": OFFICE})
    root = write_tree(domains=("Art", "Clipart", "Product", folder), classes=("cat", "dog"), per_class=3)
    wanted = config("OfficeHome", root, 8)

    dataset = load_dataset(wanted, None)
    assert describe(wanted).domain_names == dataset.domain_names == tuple(OFFICE.domain_sizes)
    assert dataset.domains[3].sample_ids[0] == f"{folder}/cat/0.JPG"
    assert dataset.digest == dataset_digest(wanted, None)
    assert check_dataset(wanted).in_words == "OfficeHome: 2 classes, 24 images, as published"
    (root / folder / "cat" / "0.JPG").write_text("no image")
    assert [fault.got for fault in check_dataset(wanted).faults] == [f"{folder}/cat/0.JPG"]
    for name in OFFICE.aliases:
        test_domains = load(content(**_on(wanted), test_domains=[[name, "Art"], name])).test_domains
        assert test_domains == (("Real World", "Art"), ("Real World",))


def _on(wanted: DatasetConfig) -> dict[str, object]:
    return {"dataset": wanted.model_dump(mode="json", exclude_none=True), "defaults": {"batch_size": 2}}


def test_two_folders_of_one_domain_are_refused(write_tree: WriteTree) -> None:
    root = write_tree(domains=("Art", "Clipart", "Product", "Real World", "Real_World"))
    for act in (describe, check_dataset):
        with pytest.raises(InputError, match=r"must hold one folder of domain 'Real World', got .*'Real_World'"):
            act(config("OfficeHome", root))


@pytest.mark.usefixtures("toy_pacs")
def test_a_benchmark_loads_its_known_domains_only(write_tree: WriteTree) -> None:
    root = write_tree()
    (root / "splits" / "test").mkdir(parents=True)
    dataset = load_dataset(config("PACS", root, 16), None)
    assert dataset.name == "PACS"
    assert dataset.domain_names == tuple(TOY.domain_sizes)
    assert describe(config("PACS", root, 16)).available


@pytest.mark.usefixtures("toy_pacs")
def test_a_tree_that_is_not_the_benchmark_is_refused(write_tree: WriteTree) -> None:
    root = write_tree(domains=("art", "photo"), classes=("cat", "dog"))
    with pytest.raises(InputError) as raised:
        describe(config("PACS", root))
    assert "lacks ['sketch', 'toy box']" in str(raised.value)
    assert "must hold 3 classes, got 2" in str(raised.value)


@pytest.mark.usefixtures("toy_pacs")
def test_checking_a_benchmark_names_all_that_differs(write_tree: WriteTree) -> None:
    root = write_tree()
    assert check_dataset(config("PACS", root)).faults == ()

    (root / "art/cat/0.JPG").unlink()
    (root / "photo/dog/1.png").write_text("no picture")
    (root / "splits").mkdir()
    told: list[str] = []
    check = check_dataset(config("PACS", root), lambda *step: told.append(step[0]))
    faults = "\n".join(map(str, check.faults))

    assert "domain 'art' was published with 12 images, got 11" in faults
    assert "image must open (not of the formats BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP), got 'photo/dog/1.png'" in faults
    assert "folder is no domain of PACS and is not read, got 'splits' (allowed: art, photo, sketch, toy box)" in faults
    assert faults.count("\n") == 2
    assert told == ["opening"] * 47


def test_an_unknown_dataset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError,
        match=r"got 'PACSS'; did you mean 'PACS'\? \(allowed: RotatedDigits, .*DomainNet, .*module:attribute\)",
    ):
        describe(config("PACSS"))
    with pytest.raises(InputError, match="got 'PACSS'"):
        check_dataset(config("PACSS"))


def test_every_dataset_with_a_name_is_known() -> None:
    known = {description.name: description for description in known_datasets()}
    assert list(known) == ["RotatedDigits", "ColoredDigits", "ColoredMNIST", "RotatedMNIST", *COUNTED]
    assert [benchmark.name for benchmark in uncounted_benchmarks()] == ["SVIRO", "WILDSFMoW"]
    assert [name for name, description in known.items() if description.available] == ["RotatedDigits", "ColoredDigits"]
    assert sum(known["DomainNet"].domain_sizes.values()) == 586_575


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """An installed package with a dataset of its own."""
    module = types.ModuleType("somebodys_package")
    module.calls = []  # type: ignore[attr-defined]

    def blobs(wanted: DatasetConfig) -> Dataset:
        module.calls.append(wanted)
        size = wanted.image_size or 8
        images = torch.rand(10, 1, size, size, generator=torch.Generator().manual_seed(0))
        domain = Domain("near", images, torch.arange(10) % 2, tuple(map(str, range(10))))
        domains = (domain, replace(domain, name="far", sample_ids=tuple(map(str, range(10, 20)))))
        return Dataset("blobs", ("no", "yes"), domains, digest_of_tensors(domains), normalise=False)

    module.blobs = blobs  # type: ignore[attr-defined]
    module.nonsense = lambda wanted: "no dataset"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys_package", module)
    registry._call_installed.cache_clear()
    return module


def test_a_dataset_of_an_installed_package_is_made_once(package: types.ModuleType) -> None:
    wanted = config("somebodys_package:blobs", image_size=12)
    dataset = load_dataset(wanted, None)

    assert load_dataset(wanted, None) is dataset
    assert package.calls == [wanted]
    assert dataset_digest(wanted, None) == dataset.digest == digest_of_tensors(dataset.domains)
    description = describe(wanted)
    assert (description.name, description.domain_sizes) == ("blobs", {"near": 10, "far": 10})
    assert description.image_shape == (1, 12, 12)
    assert check_dataset(wanted).in_words == "blobs: 2 classes, 20 images"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobodys_package:blobs", r"No module named 'nobodys_package'\), got 'nobodys_package:blobs'"),
        ("somebodys_package:blubs", r"no attribute 'blubs'\), got 'somebodys_package:blubs'"),
        (":blobs", r"got ':blobs'"),
        ("somebodys_package:nonsense", r"got 'somebodys_package:nonsense \(str\)'"),
        ("somebodys_package:__name__", r"got 'somebodys_package:__name__ \(str\)'"),
    ],
)
def test_a_name_that_leads_to_no_dataset_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        describe(config(name))


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("PACS", True),
        ("ImageFolder", True),
        ("SpawriousO2O_easy", True),
        ("RotatedMNIST", False),
        ("RotatedDigits", False),
    ],
)
def test_decoded_photographs_take_a_byte_a_pixel_and_channel_and_digits_nothing(name: str, holds: bool) -> None:
    dataset = DatasetDescription(name, {"art": 20, "photo": 30}, 7, None, (3, 224, 224), False)
    assert holds_photographs(name) is holds
    assert decoded_bytes(dataset, name) == (50 * 3 * 224 * 224 if holds else 0)
