"""Trees of photographs: what is read, in which order, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision import transforms

from gga_sweep.datasets import Dataset, image_cache, image_folder, manifest
from gga_sweep.datasets.image_folder import decoding_seconds, load_tree, read_tree, scan_folders
from gga_sweep.errors import InputError, StorageError

WriteTree = Callable[..., Path]


@pytest.mark.parametrize("cached", [False, True])
def test_a_tree_of_four_domains_loads_with_the_right_pixels(
    write_tree: WriteTree, tmp_path: Path, cached: bool
) -> None:
    root = write_tree()

    dataset = load_tree("ImageFolder", read_tree(root), 24, tmp_path / "cache" if cached else None)

    assert dataset.domain_names == ("art", "photo", "sketch", "toy box")
    assert dataset.classes == ("cat", "dog", "elk")
    assert dataset.input_shape == (3, 24, 24)
    resize = transforms.Compose([transforms.Resize((24, 24)), transforms.PILToTensor()])
    for domain in dataset.domains:
        assert len(domain) == 12
        for image, label, sample in zip(domain.images, domain.labels, domain.sample_ids, strict=True):
            folder, name, _ = sample.split("/")
            assert (folder, name) == (domain.name, dataset.classes[label])
            with Image.open(root / sample) as original:
                assert torch.equal(image, resize(original.convert("RGB")))


def test_images_are_ordered_by_class_then_by_file(write_tree: WriteTree) -> None:
    root = write_tree(classes=("dog", "dog house"), per_class=2)
    (root / "art/dog/1.png").rename(root / "art/dog/10.png")
    # as paths, "dog house/0.JPG" would come before "dog/0.JPG"
    assert read_tree(root).paths["art"] == (
        "art/dog/0.JPG",
        "art/dog/10.png",
        "art/dog house/0.JPG",
        "art/dog house/1.png",
    )
    assert read_tree(root).labels["art"] == (0, 0, 1, 1)


def test_hidden_and_other_files_are_skipped(write_tree: WriteTree) -> None:
    root = write_tree()
    before = read_tree(root)
    shutil.copytree(root / "art", root / ".hidden")
    shutil.copytree(root / "art", root / "__MACOSX")
    shutil.copytree(root / "art/cat", root / "art/.hidden")
    (root / "art/cat/._0.JPG").write_bytes(b"")
    (root / "art/cat/notes.txt").write_text("no picture")
    (root / "README.txt").write_text("no domain")
    (root / "art/cat/folder.png").mkdir()
    (root / "art/cat/list").write_text("no picture")
    shutil.copy(root / "art/cat/1.png", root / "art")
    assert read_tree(root) == before
    assert scan_folders(root).left_out == {
        "hidden": 4,
        "of suffix '.txt'": 1,
        "without a suffix": 1,
        "outside class folders": 1,
    }


def test_images_in_folders_below_a_class_are_read_in_the_order_of_torchvision(write_tree: WriteTree) -> None:
    root = write_tree(per_class=3)
    for folder in ("part 2", "part 10", "part 2/b", "part 2a", "empty"):
        (root / "art/dog" / folder).mkdir()
    for number, folder in enumerate(("part 2", "part 2/b", "part 10", "part 2a")):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(root / "art/dog" / folder / "z.ppm")
        Image.new("L", (9, 9), number).save(root / "art/dog" / folder / "A.pgm")
    theirs = torchvision.datasets.ImageFolder(str(root / "art"))
    assert [str(root / path) for path in read_tree(root).paths["art"]] == [path for path, _ in theirs.samples]
    dataset = load_tree("ImageFolder", read_tree(root), 8, None)
    assert len(dataset.domain("art")) == 9 + 8


@pytest.mark.timeout(20)
def test_links_between_folders_do_not_multiply_images(write_tree: WriteTree) -> None:
    root = write_tree(per_class=2)
    for number in range(20):
        (root / "art/dog" / f"{number}").mkdir()
        for link in ("one", "other"):
            (root / "art/dog" / f"{number}" / link).symlink_to(root / "art/dog" / f"{(number + 1) % 20}")
    (root / "art/dog/up").symlink_to("..")
    scan = scan_folders(root)
    assert len(scan.folders["art"]["dog"]) == 2
    assert scan.left_out["folders that another name leads to"] > 0


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "bmp", "webp", "gif", "tif", "TIFF"])
def test_images_of_every_usual_kind_are_found(write_tree: WriteTree, suffix: str) -> None:
    root = write_tree()
    Image.new("RGB", (9, 9)).save(root / f"photo/dog/new.{suffix}")
    dataset = load_tree("ImageFolder", read_tree(root), 8, None)
    assert f"photo/dog/new.{suffix}" in dataset.domain("photo").sample_ids


def test_only_named_domains_are_read(write_tree: WriteTree) -> None:
    assert list(read_tree(write_tree(), domains=("art", "sketch")).paths) == ["art", "sketch"]


def test_all_faults_of_a_tree_are_named_at_once(write_tree: WriteTree) -> None:
    root = write_tree()
    shutil.rmtree(root / "photo" / "dog")
    shutil.rmtree(root / "sketch" / "cat")
    for file in (root / "toy box" / "elk").iterdir():
        file.unlink()

    with pytest.raises(InputError) as raised:
        read_tree(root, domains=("art", "photo", "sketch", "toy box", "video"), n_classes=5)

    text = str(raised.value)
    assert len(raised.value.faults) == 5
    assert "a folder for each domain, lacks ['video']" in text
    assert "domain 'photo' must have the class folders of the other domains, lacks ['dog'], got ['cat', 'elk']" in text
    assert "domain 'sketch' must have the class folders of the other domains, lacks ['cat'], got ['dog', 'elk']" in text
    assert "domain 'toy box' must have an image in each class folder, none in ['elk']" in text
    assert "must hold 5 classes, got 3" in text


def faults_of(root: Path) -> list[str]:
    with pytest.raises(InputError) as raised:
        read_tree(root)
    return [str(fault) for fault in raised.value.faults]


@pytest.mark.parametrize("content", ["", "figures/plots", "cats/deep"])
def test_a_stray_folder_is_one_fault_which_names_it(write_tree: WriteTree, content: str) -> None:
    root = write_tree()
    (root / "notes" / content).mkdir(parents=True)
    assert faults_of(root) == [
        "dataset.root: every folder must be a domain with the class folders of the others; move away those that are "
        "none, got ['notes']"
    ]


def test_stray_class_folders_are_one_fault_which_names_them(write_tree: WriteTree) -> None:
    root = write_tree()
    (root / "art/new").mkdir()
    (root / "photo/thumbnails").mkdir()
    assert faults_of(root) == [
        "dataset.root: a class folder must lie in every domain; move away those that lie in few, or add them to the "
        "others, got ['art/new', 'photo/thumbnails']"
    ]


def test_names_that_look_alike_are_one_fault_which_shows_the_difference(write_tree: WriteTree) -> None:
    composed, decomposed = "cha\u00eene", "chai\u0302ne"
    root = write_tree(domains=("aa", "b"), classes=(composed, "dog"))
    (root / "aa" / composed).rename(root / "aa" / decomposed)
    [fault] = faults_of(root)
    assert "differ only in their Unicode form (NFC and NFD)" in fault
    assert r"'cha\\xeene', 'chai\\u0302ne'" in fault


def test_a_tree_of_one_class_is_refused(write_tree: WriteTree) -> None:
    assert faults_of(write_tree(classes=("cat",))) == ["dataset.root: must hold two classes or more, got ['cat']"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [((), "must hold domain folders"), (("a", "b"), r"class folders in its domain folders, got \['a', 'b'\]")],
)
def test_a_tree_without_domains_or_classes_is_refused(tmp_path: Path, folders: Sequence[str], message: str) -> None:
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=message):
        read_tree(tmp_path)


def test_a_tree_of_one_domain_can_be_read_for_evaluating_on_it(write_tree: WriteTree) -> None:
    assert list(read_tree(write_tree(domains=("alone",))).domain_sizes) == ["alone"]


@pytest.mark.parametrize("cached", [False, True])
def test_broken_images_of_all_domains_are_named_together(write_tree: WriteTree, tmp_path: Path, cached: bool) -> None:
    root = write_tree()
    (root / "art/cat/1.png").write_text("no picture")
    (root / "toy box/elk/3.png").write_text("no picture")

    with pytest.raises(InputError) as raised:
        load_tree("ImageFolder", read_tree(root), 24, tmp_path / "cache" if cached else None)

    assert len(raised.value.faults) == 2
    assert "art/cat/1.png" in str(raised.value)
    assert "toy box/elk/3.png" in str(raised.value)


def test_a_link_that_leads_nowhere_is_an_unreadable_image(write_tree: WriteTree, tmp_path: Path) -> None:
    root = write_tree()
    (root / "art/cat/lost.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"readable \(No such file or directory\), got \'art/cat/lost\.png\'"):
        load_tree("ImageFolder", read_tree(root), 24, None)


def test_the_cache_follows_content_and_size(
    write_tree: WriteTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = write_tree(), tmp_path / "cache"
    small = load_tree("ImageFolder", read_tree(root), 16, cache)
    large = load_tree("ImageFolder", read_tree(root), 32, cache)
    assert (small.input_shape, large.input_shape) == ((3, 16, 16), (3, 32, 32))
    assert small.digest == large.digest
    assert (cache / f"{small.digest[:16]}-16" / "toy box.npy").is_file()

    moved = root.rename(tmp_path / "moved")
    monkeypatch.setattr(image_cache, "decode", None)  # not even a moved tree is decoded again
    assert torch.equal(load_tree("ImageFolder", read_tree(moved), 16, cache).domains[0].images, small.domains[0].images)
    monkeypatch.undo()

    Image.new("RGB", (9, 9), "red").save(moved / "art/cat/1.png")
    changed = load_tree("ImageFolder", read_tree(moved), 16, cache)
    assert changed.digest != small.digest
    assert changed.domains[0].images[1, :, 0, 0].tolist() == [255, 0, 0]


def test_images_of_another_decoding_version_are_decoded_again(
    write_tree: WriteTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, cache = read_tree(write_tree()), tmp_path / "cache"
    before = load_tree("ImageFolder", tree, 16, cache)
    monkeypatch.setattr(manifest, "DECODING", manifest.DECODING + 1)
    monkeypatch.setattr(image_cache, "decode", lambda content, size: np.full((3, size, size), 7, dtype=np.uint8))
    after = load_tree("ImageFolder", tree, 16, cache)
    assert all((domain.images == 7).all() for domain in after.domains)
    monkeypatch.undo()
    monkeypatch.setattr(image_cache, "decode", None)  # the older version's are still there, for who runs it
    again = load_tree("ImageFolder", tree, 16, cache)
    assert all(torch.equal(*pair) for pair in zip(images_of(again), images_of(before), strict=True))


def test_a_cache_that_another_user_can_write_to_is_not_used(write_tree: WriteTree, tmp_path: Path) -> None:
    tree, cache = read_tree(write_tree()), tmp_path / "cache"
    load_tree("ImageFolder", tree, 16, cache)
    cache.chmod(0o777)
    with pytest.raises(StorageError, match=r"cannot keep decoded images in .*cache: other users can write to it"):
        load_tree("ImageFolder", tree, 16, cache)
    (hashes,) = (cache / "manifests").iterdir()
    hashes.unlink()
    assert tree.manifest(cache).digest == tree.manifest(None).digest
    assert not hashes.exists()


def images_of(dataset: Dataset) -> list[torch.Tensor]:
    return [domain.images for domain in dataset.domains]


def test_progress_goes_on_over_the_domains_that_are_decoded(write_tree: WriteTree, tmp_path: Path) -> None:
    tree, cache = (
        read_tree(write_tree(domains=("art", "photo", "sketch"), classes=("cat", "dog"), per_class=3)),
        tmp_path / "c",
    )
    told: list[tuple[str, int, int]] = []

    def tell(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    load_tree("ImageFolder", tree, 16, cache, tell)
    domains = ["art"] * 6 + ["photo"] * 6 + ["sketch"] * 6
    assert told == [(f"decoding {domain}", done, 18) for done, domain in enumerate(domains, start=1)]
    told.clear()
    load_tree("ImageFolder", tree, 16, cache, tell)
    assert told == []
    next(cache.glob("*/photo.npy")).unlink()
    load_tree("ImageFolder", tree, 16, cache, tell)
    assert told == [("decoding photo", done, 6) for done in range(1, 7)]
    told.clear()
    load_tree("ImageFolder", tree, 16, None, tell)
    assert len(told) == 18


@pytest.mark.parametrize("cached", [False, True])
def test_images_that_change_between_listing_and_decoding_are_named_together(
    write_tree: WriteTree, tmp_path: Path, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = write_tree(), tmp_path / "cache" if cached else None
    tree, listing = read_tree(root), manifest.read_manifest

    def change(*given: Any) -> manifest.Manifest:
        found = listing(*given)
        for path in ("art/cat/1.png", "toy box/elk/3.png"):
            Image.new("RGB", (9, 9), "red").save(root / path)
        return found

    monkeypatch.setattr(image_folder, "read_manifest", change)
    with pytest.raises(InputError) as raised:
        load_tree("ImageFolder", tree, 24, cache)
    assert [(fault.rule, fault.got) for fault in raised.value.faults] == [
        ("image changed since it was listed", path) for path in ("art/cat/1.png", "toy box/elk/3.png")
    ]
    assert list(tmp_path.glob("cache/**/*.npy*")) == []
    monkeypatch.undo()
    assert load_tree("ImageFolder", tree, 24, cache).domains[0].images[1, :, 0, 0].tolist() == [255, 0, 0]


def test_a_change_that_kept_size_and_time_is_found_and_the_next_call_lists_anew(
    write_tree: WriteTree, tmp_path: Path
) -> None:
    root, cache = write_tree(), tmp_path / "cache"
    tree = read_tree(root)
    before = tree.manifest(cache).digest
    file = root / "art/cat/0.JPG"
    status = file.stat()
    Image.new("RGB", (9, 9)).save(file)
    file.write_bytes(file.read_bytes().ljust(status.st_size, b"\0"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_size == status.st_size
    assert tree.manifest(cache).digest == before
    with pytest.raises(InputError, match=r"changed since it was listed, got 'art/cat/0\.JPG'"):
        load_tree("ImageFolder", tree, 24, cache)
    assert load_tree("ImageFolder", tree, 24, cache).digest == tree.manifest(None).digest != before


def test_too_little_space_for_all_domains_is_an_error_before_decoding(
    write_tree: WriteTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, cache = read_tree(write_tree()), tmp_path / "cache"
    monkeypatch.setattr(image_cache, "free_bytes", lambda folder: 4 * 12 * 3 * 24**2)
    monkeypatch.setattr(image_cache, "decode", None)
    needed = f"{4 * 12 * 3 * 24**2 + 128:,}"
    with pytest.raises(StorageError, match=rf"decoded images need {needed} bytes in .*cache: 82,944 bytes are free"):
        load_tree("ImageFolder", tree, 24, cache)
    assert list(tmp_path.glob("cache/*-*")) == []


def test_decoding_is_timed_on_photographs_of_every_domain(
    write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree(domains=("art", "photo"), per_class=20)
    sizes: list[int] = []
    decode = image_folder.decode
    monkeypatch.setattr(
        image_folder, "decode", lambda content, size: (sizes.append(len(content)), decode(content, size))
    )
    assert 0 < decoding_seconds(root, 32) < 10
    assert 32 <= len(sizes) <= 60
    assert set(sizes) & {path.stat().st_size for path in (root / "photo").rglob("*.*")}
