"""Trees of photographs: what is read, in which order, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import transforms

from gga_sweep.domains import image_cache
from gga_sweep.domains.image_folder import load_tree, read_tree
from gga_sweep.errors import InputError

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
    assert read_tree(root).paths("art") == (
        "art/dog/0.JPG",
        "art/dog/10.png",
        "art/dog house/0.JPG",
        "art/dog house/1.png",
    )
    assert read_tree(root).labels("art") == [0, 0, 1, 1]


def test_hidden_files_and_other_files_are_passed_over(write_tree: WriteTree) -> None:
    root = write_tree()
    before = read_tree(root)
    shutil.copytree(root / "art", root / ".hidden")
    shutil.copytree(root / "art/cat", root / "art/.hidden")
    (root / "art/cat/._0.JPG").write_bytes(b"")
    (root / "art/cat/notes.txt").write_text("no picture")
    (root / "README.txt").write_text("no domain")
    (root / "art/cat/folder.png").mkdir()
    assert read_tree(root) == before


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "bmp", "webp", "gif", "tif", "TIFF"])
def test_images_of_every_usual_kind_are_found(write_tree: WriteTree, suffix: str) -> None:
    root = write_tree()
    Image.new("RGB", (9, 9)).save(root / f"photo/dog/new.{suffix}")
    dataset = load_tree("ImageFolder", read_tree(root), 8, None)
    assert f"photo/dog/new.{suffix}" in dataset.domain("photo").sample_ids


def test_only_named_domains_are_read(write_tree: WriteTree) -> None:
    assert list(read_tree(write_tree(), domains=("art", "sketch")).folders) == ["art", "sketch"]


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


def test_a_tree_without_a_domain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold domain folders"):
        read_tree(tmp_path)


def test_a_tree_of_one_domain_can_be_read_for_evaluating_on_it(write_tree: WriteTree) -> None:
    assert list(read_tree(write_tree(domains=("alone",))).domain_sizes) == ["alone"]


def test_domains_without_class_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a").mkdir(parents=True)
    (tmp_path / "tree" / "b").mkdir()
    with pytest.raises(InputError, match=r"class folders in its domain folders, got \['a', 'b'\]"):
        read_tree(tmp_path / "tree")


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be a folder .*, got '.*nowhere'"):
        read_tree(tmp_path / "nowhere")


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
