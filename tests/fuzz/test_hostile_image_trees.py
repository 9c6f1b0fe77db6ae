"""Trees, caches and archives made to break their reader: each is refused by the rule it breaks, or put right."""

from __future__ import annotations

import gzip
import inspect
import io
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from gga_sweep.datasets import check_dataset, dataset_digest, describe, load_dataset, manifest, prepare_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.downloads import DownloadedFile, list_folder, read_file
from gga_sweep.datasets.files import LONGEST_NAME, is_plain
from gga_sweep.errors import InputError, StorageError

SIZE = 8


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two domains, two classes, two photographs each; no two alike."""
    rng = np.random.default_rng(0)
    for path in (f"{domain}/{name}/{index}.png" for domain in "ab" for name in ("cat", "dog") for index in range(2)):
        file = tmp_path / "tree" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(file)
    return tmp_path / "tree"


def of(tree: Path) -> DatasetConfig:
    return DatasetConfig(name="ImageFolder", root=tree, image_size=SIZE)


def faults_of(read: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as caught:
        read()
    return [str(fault) for fault in caught.value.faults]


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("replace", [replace_by_pipe, replace_by_device])
def test_what_could_be_read_for_ever_is_not_read(tree: Path, replace: Callable[[Path], None]) -> None:
    replace(tree / "a/cat/0.png")
    message = "dataset.root: image must be readable (not a regular file), got 'a/cat/0.png'"
    assert faults_of(lambda: load_dataset(of(tree), None)) == [message]
    [unreadable] = check_dataset(of(tree)).unreadable
    assert unreadable.got == "a/cat/0.png"


def test_links_that_lead_back_to_themselves_are_no_folders_and_no_images(tree: Path) -> None:
    (tree / "a/cat/1.png").unlink()
    for path in ("c", "a/elk", "a/cat/1.png"):
        (tree / path).symlink_to(Path(path).name)
    assert describe(of(tree)).domain_sizes == {"a": 4, "b": 4}
    [fault] = faults_of(lambda: load_dataset(of(tree), None))
    assert fault == "dataset.root: image must be readable (Too many levels of symbolic links), got 'a/cat/1.png'"


@pytest.mark.parametrize(
    "name", ["new\nline", "\x1b[31m", os.fsdecode(b"\xff"), "\u2028", "é" * (LONGEST_NAME // 2 + 1)]
)
@pytest.mark.parametrize("place", ["a/cat/0.png", "a/cat", "a"])
def test_a_name_that_no_table_can_show_is_named_and_refused(tree: Path, place: str, name: str) -> None:
    path = tree / place
    path.rename(path.with_name(name + path.suffix))
    rule = "dataset.root: names of folders and images must be text in UTF-8, in one line, of at most 200 bytes, got ["
    for read in (describe, check_dataset):
        [fault] = faults_of(lambda read=read: read(of(tree)))
        assert fault.startswith(rule)
        assert repr(name)[1:-1] in fault


@pytest.mark.parametrize(
    "name", ["Real World", "数字", "naïve", "non\u00a0breaking", "a'b\"c", "x" * LONGEST_NAME, "😀"]
)
def test_an_ordinary_name_is_taken(name: str) -> None:
    assert is_plain(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * (LONGEST_NAME + 1)])
def test_a_name_that_is_a_path_or_too_long_is_not(name: str) -> None:
    assert not is_plain(name)


def test_domains_of_the_longest_names_can_be_cached(tree: Path, tmp_path: Path) -> None:
    (tree / "a").rename(tree / ("x" * LONGEST_NAME))
    assert len(load_dataset(of(tree), tmp_path / "cache").domains) == 2


def test_a_tree_whose_own_name_is_long_can_be_cached(tree: Path, tmp_path: Path) -> None:
    named = tree.rename(tree.with_name("é" * 120))
    assert dataset_digest(of(named), tmp_path / "cache") == dataset_digest(of(named), None)


def test_every_folder_that_cannot_be_listed_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(folder: Path) -> Any:
        if Path(folder).name == "cat":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    expected = [f"dataset.root: folder must be readable (Permission denied), got '{tree}/{name}/cat'" for name in "ab"]
    assert faults_of(lambda: describe(of(tree))) == expected


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def of_another_shape(file: Path) -> None:
    np.save(file, np.zeros((4, SIZE, SIZE, 3), dtype=np.uint8))


def of_objects(file: Path) -> None:
    np.save(file, np.array([print], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("damage", [cut, lengthen, empty, of_another_shape, of_objects, replace_by_device])
def test_decoded_images_that_were_damaged_are_decoded_again(
    tree: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    cache = tmp_path / "cache"
    before = [domain.images.clone() for domain in load_dataset(of(tree), cache).domains]
    for file in cache.glob("*/*.npy"):
        damage(file)
    after = [domain.images for domain in load_dataset(of(tree), cache).domains]
    assert all(torch.equal(one, other) for one, other in zip(after, before, strict=True))


def change_a_hash(file: Path) -> None:
    content = file.read_bytes()
    at = content.index(b'"', content.index(b".png"))  # after a path: the size, the time, the hash
    hash_at = content.index(b'"', at + 1) + 1
    file.write_bytes(
        content[:hash_at] + (b"0" if content[hash_at : hash_at + 1] != b"0" else b"1") + content[hash_at + 1 :]
    )


def of_an_older_version(file: Path) -> None:
    file.write_bytes(file.read_bytes().partition(b"\n")[2])


@pytest.mark.parametrize("damage", [cut, empty, change_a_hash, of_an_older_version, replace_by_device])
def test_content_hashes_that_were_altered_are_made_again(
    tree: Path, tmp_path: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dataset_digest(of(tree), tmp_path / "cache")
    [file] = (tmp_path / "cache" / "manifests").iterdir()
    whole = file.read_bytes()
    damage(file)
    assert file.is_symlink() or file.read_bytes() != whole
    assert dataset_digest(of(tree), tmp_path / "cache") == before
    assert file.read_bytes() == whole
    monkeypatch.setattr(manifest, "content_hash", None)  # nothing is read any more
    assert dataset_digest(of(tree), tmp_path / "cache") == before


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_input(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in its place")
    with pytest.raises(StorageError, match=r"cannot keep content hashes in .*manifests.*: Not a directory"):
        dataset_digest(of(tree), tmp_path / "cache")
    (tmp_path / "elsewhere" / "manifests").mkdir(parents=True)
    load_dataset(of(tree), tmp_path / "elsewhere")
    for file in (tmp_path / "elsewhere").glob("*/*.npy"):
        file.unlink()
        file.mkdir()
        (file / "in its place").touch()
    with pytest.raises(StorageError, match=r"cannot keep decoded images in .*a\.npy: Is a directory"):
        load_dataset(of(tree), tmp_path / "elsewhere")


def archive_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


@pytest.mark.timeout(20)
@pytest.mark.parametrize("size", ["-1024", "-2048", "-512"])
def test_an_archive_that_leads_back_to_its_beginning_is_refused(tmp_path: Path, size: str) -> None:
    first, second = tarfile.TarInfo("a.png"), tarfile.TarInfo("b.png")
    second.pax_headers = {"size": size}
    archive = archive_of(tmp_path / "VLCS.tar", first, second)
    [fault] = faults_of(lambda: prepare_dataset("VLCS", archive, tmp_path / "root"))
    assert fault.startswith("download: archive must be readable (ReadError: ")


@pytest.mark.parametrize("field", ["download", "root", "duplicates"])
@pytest.mark.parametrize("path", ["x" * 5000, "~nobody-has-this-name/x", "a\0b"])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, field: str, path: str) -> None:
    (tmp_path / "download").mkdir()
    paths: dict[str, Any] = {"download": tmp_path / "download", "root": tmp_path / "root", field: Path(path)}
    [fault, *_] = faults_of(lambda: prepare_dataset("DomainNet", **paths))
    assert fault.startswith((f"{field}: must be", f"{field}: home directory not found"))


def test_a_file_is_found_however_deep_it_lies(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*["d"] * 200)
    deepest.mkdir(parents=True)
    (deepest / "0.png").touch()
    usual = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack()) + 150)
        [found] = list_folder(tmp_path)
    finally:
        sys.setrecursionlimit(usual)
    assert found.path == "d/" * 200 + "0.png"


def test_annotations_too_deep_in_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "download").mkdir()
    (tmp_path / "download" / "caltech_camera_traps.json").write_bytes(b"[" * 100_000)
    [fault] = faults_of(lambda: prepare_dataset("TerraIncognita", tmp_path / "download", tmp_path / "root"))
    assert fault.startswith("must be JSON with the lists images (id, location and file_name)")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_a_small_archive_of_much_text_is_not_unpacked(tmp_path: Path, suffix: str) -> None:
    archive, name = tmp_path / f"download{suffix}", "caltech_camera_traps.json"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped, zipped.open(name, "w") as member:
            for _ in range(200):
                member.write(b" " * 2**20)
    else:
        info = tarfile.TarInfo(name)
        info.size = 200 * 2**20
        with tarfile.open(archive, "w:gz") as tarred:
            tarred.addfile(info, cast(Any, Blanks(info.size)))
    assert archive.stat().st_size < 10**6
    [fault] = faults_of(lambda: prepare_dataset("TerraIncognita", archive, tmp_path / "root"))
    assert fault == "must have at most 134,217,728 bytes, got 209715200"


class Blanks:
    """A file of so many blanks."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return b" " * size


@pytest.mark.timeout(20)
def test_a_header_as_large_as_the_memory_is_not_read(tmp_path: Path) -> None:
    archive, header = tmp_path / "VLCS.tgz", tarfile.TarInfo("header")
    header.type, header.size = tarfile.XHDTYPE, 2**31
    with gzip.open(archive, "wb") as packed:
        packed.write(header.tobuf())
        packed.write(bytes(2**20))
    [fault] = faults_of(lambda: prepare_dataset("VLCS", archive, tmp_path / "root"))
    assert fault.startswith("download: archive must be readable (ReadError: a header of 2,147,483,648 bytes)")


def test_annotations_too_large_to_be_any_are_not_read(tmp_path: Path) -> None:
    file = DownloadedFile("annotations.json", 2**40, tmp_path, packed=True)
    assert faults_of(lambda: read_file(file)) == ["must have at most 134,217,728 bytes, got 1099511627776"]


@pytest.mark.parametrize("name", ["a\x1bb", os.fsdecode(b"\xff"), "x" * (LONGEST_NAME + 1), "."])
def test_classes_of_a_download_whose_names_no_table_can_show_are_refused(tmp_path: Path, name: str) -> None:
    names = ["bird", "car", "chair", "dog", name]
    paths = [f"{domain}/{label}/0.png" for domain in ("Caltech101", "LabelMe", "SUN09", "VOC2007") for label in names]
    archive = archive_of(tmp_path / "VLCS.tar", *map(tarfile.TarInfo, paths))
    [fault] = faults_of(lambda: prepare_dataset("VLCS", archive, tmp_path / "root"))
    assert fault.startswith("download: names of folders and images must be text in UTF-8")
    assert not (tmp_path / "root").exists()
