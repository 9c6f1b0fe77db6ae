"""A tree compared with the published dataset: what differs is named, known sizes are recognised."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gga_sweep.datasets.catalogue import BENCHMARKS, Benchmark, Variant
from gga_sweep.datasets.dataset_check import DatasetCheck, DomainCount, _known_variant, check_tree
from gga_sweep.errors import InputError

WriteTree = Callable[..., Path]

SIZES = {"art": 12, "photo": 12, "sketch": 12, "toy box": 12}
TOY = Benchmark("Toy", SIZES, 3, ("cat", "dog", "elk"))


def faults(check: DatasetCheck) -> list[str]:
    return [str(fault) for fault in check.faults]


def test_a_tree_as_published_has_no_faults(write_tree: WriteTree) -> None:
    check = check_tree("Toy", write_tree(), TOY)

    assert check.domains == tuple(DomainCount(name, 12, 12) for name in SIZES)
    assert check.classes == ("cat", "dog", "elk")
    assert (check.faults, check.remarks, check.variant, check.loadable) == ((), (), None, True)
    assert check.in_words == "Toy: 3 classes, 48 images, as published"


def test_counts_are_compared_domain_by_domain(write_tree: WriteTree) -> None:
    root = write_tree()
    (root / "art/cat/0.JPG").unlink()
    shutil.copy(root / "photo/dog/1.png", root / "photo/dog/again.png")

    check = check_tree("Toy", root, TOY)

    assert check.domains[:2] == (DomainCount("art", 11, 12), DomainCount("photo", 13, 12))
    assert faults(check) == [
        "dataset.root: domain 'art' was published with 12 images, got 11",
        "dataset.root: domain 'photo' was published with 12 images, got 13",
    ]
    assert check.loadable
    assert check.in_words == "Toy: 3 classes, 48 images, 2 things differ"


def test_missing_and_extra_domains_are_named_and_extra_ones_are_not_read(write_tree: WriteTree) -> None:
    root = write_tree()
    (root / "sketch").rename(root / "sketches")
    (root / "sketches/cat/1.png").write_text("no picture")

    check = check_tree("Toy", root, TOY)

    assert DomainCount("sketch", None, 12) in check.domains
    assert check.domains[-1] == DomainCount("sketches", 12, None)
    assert check.images == 36
    assert check.unreadable == ()
    assert not check.loadable
    assert "lacks ['sketch']" in faults(check)[0]
    assert (
        "folder is no domain of Toy and is not read, got 'sketches'; did you mean 'sketch'? (allowed: art, photo,"
        in faults(check)[1]
    )
    assert len(check.faults) == 2


def test_classes_are_compared_between_domains_and_with_the_known_names(write_tree: WriteTree) -> None:
    root = write_tree()
    for domain in SIZES:
        (root / domain / "dog").rename(root / domain / "hound")
    (root / "art/hound").rename(root / "art/wolf")

    check = check_tree("Toy", root, TOY)

    assert check.classes == ("cat", "elk", "hound", "wolf")
    text = "\n".join(faults(check))
    assert "no domain has ['dog']" in text
    assert "class folders are none of Toy, got ['hound', 'wolf']" in text
    assert "move away those that lie in few, or add them to the others, got ['art/wolf']" in text
    assert "domain 'art' must have the class folders of the other domains, lacks ['hound']" in text


def test_without_listed_names_classes_are_only_counted(write_tree: WriteTree) -> None:
    check = check_tree("Toy", write_tree(classes=("x", "y", "z")), Benchmark("Toy", SIZES, 3))
    assert check.faults == ()


def test_every_image_that_does_not_open_is_named_with_the_reason(write_tree: WriteTree) -> None:
    root = write_tree()
    (root / "photo/dog/1.png").write_text("no picture")
    whole = (root / "art/cat/0.JPG").read_bytes()
    (root / "art/cat/0.JPG").write_bytes(whole[: len(whole) // 2])
    (root / "toy box/elk/lost.png").symlink_to(root / "nowhere.png")

    check = check_tree("Toy", root, TOY)

    assert [image.got for image in check.unreadable] == ["art/cat/0.JPG", "photo/dog/1.png", "toy box/elk/lost.png"]
    assert "truncated" in check.unreadable[0].rule
    formats = "BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"
    message = f"dataset.root: image must open (not of the formats {formats}), got 'photo/dog/1.png'"
    assert str(check.unreadable[1]) == message
    assert check.unreadable[2].rule.startswith("image must open (FileNotFoundError")
    assert check.faults[-3:] == check.unreadable
    assert not check.loadable


def test_what_is_not_read_is_counted_by_reason(write_tree: WriteTree) -> None:
    root = write_tree()
    for name in ("a.heic", "b.heic", "c", ".hidden.png"):
        (root / "art/cat" / name).write_bytes(b"")
    (root / "art/0.png").write_bytes(b"")
    [remark] = check_tree("Toy", root, TOY).remarks
    assert remark.startswith("Files and folders that are not read: 2 of suffix '.heic', 1 ")
    assert {"1 without a suffix", "1 hidden", "1 outside class folders"} == set(remark.split(", ")[1:])


def test_progress_counts_every_image_opened(write_tree: WriteTree) -> None:
    told: list[tuple[str, int, int]] = []
    check_tree("Toy", write_tree(), TOY, lambda *step: told.append(step))
    assert told == [("opening", done, 48) for done in range(1, 49)]


def test_a_tree_that_nobody_published_is_compared_with_itself(write_tree: WriteTree) -> None:
    root = write_tree()
    shutil.rmtree(root / "art/elk")
    (root / "photo/cat/1.png").write_text("no picture")

    check = check_tree("ImageFolder", root, None)

    assert check.domains[0] == DomainCount("art", 8, None)
    assert check.images == 44
    assert len(check.faults) == 2
    assert check_tree("ImageFolder", write_tree("whole"), None).in_words == "ImageFolder: 3 classes, 48 images"


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder"):
        check_tree("Toy", tmp_path / "nowhere", TOY)


def test_a_size_known_by_its_total_is_recognised_and_not_a_fault(write_tree: WriteTree) -> None:
    root = write_tree()
    (root / "art/cat/0.JPG").unlink()
    (root / "photo/cat/0.JPG").unlink()
    benchmark = Benchmark("Toy", SIZES, 3, variants=(Variant("today's 46", 46),))

    check = check_tree("Toy", root, benchmark)

    assert check.variant == "today's 46"
    assert check.remarks == ("Toy here: today's 46",)
    assert check.faults == ()
    assert check.in_words == "Toy: 3 classes, 46 images, a known variant: today's 46"
    (root / "photo/cat/1.png").unlink()
    assert len(check_tree("Toy", root, benchmark).faults) == 2


def variant_of(name: str, counts: Mapping[str, int]) -> str | None:
    return _known_variant(counts, BENCHMARKS[name])[0]


def test_todays_terra_incognita_is_recognised_by_its_total() -> None:
    published = BENCHMARKS["TerraIncognita"].domain_sizes
    assert variant_of("TerraIncognita", published) is None
    today = {**published, "location_38": published["location_38"] - (24_788 - 24_330)}
    assert "24,330" in str(variant_of("TerraIncognita", today))
    assert variant_of("TerraIncognita", {**today, "location_43": 4019}) is None


WITH_DUPLICATES = {"clipart": 48_833, "infograph": 53_201, "painting": 75_759, "real": 175_327, "sketch": 70_386}


@settings(max_examples=40)
@given(kept=st.sets(st.sampled_from(sorted(WITH_DUPLICATES))), off=st.sampled_from([0, 1]))
def test_domain_net_is_recognised_whichever_domains_still_hold_their_duplicates(kept: set[str], off: int) -> None:
    published = BENCHMARKS["DomainNet"].domain_sizes
    counts = {**published, **{domain: WITH_DUPLICATES[domain] for domain in kept}}
    counts["quickdraw"] -= off

    variant, remarks = _known_variant(counts, BENCHMARKS["DomainNet"])

    assert (variant is not None) == (bool(kept) and not off)
    for remark in remarks:
        named = remark.split("(domains: ")[1].rstrip(")").split(", ")
        assert set(named) == kept
