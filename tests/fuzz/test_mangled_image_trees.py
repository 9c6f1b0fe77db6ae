"""Mangled trees of photographs, caches, weights and downloads: an error of ours or success, and nothing else."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mangle import (
    FOREIGN,
    Draw,
    as_json,
    fuzzed,
    mangled_bytes,
    mangled_data,
    only_our_errors,
    put_foreign,
    remove,
    values,
)
from PIL import Image
from safetensors.torch import save

from gga_sweep.datasets import check_dataset, dataset_digest, describe, load_dataset, prepare_dataset
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.datasets.layouts import read_duplicates
from gga_sweep.errors import InputError
from gga_sweep.ledger.ledger import Ledger
from gga_sweep.ledger.stored_sweep import read_plan, write_sweep
from gga_sweep.networks.builtin.small_cnn import small_cnn
from gga_sweep.networks.network import load_featurizer
from gga_sweep.spec import load, plan_sweep, read_contents

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # decoders of photographs warn, and go on

SIZE = 8
FORMATS = ("png", "jpeg", "gif", "tiff", "webp", "bmp")


@lru_cache
def picture(number: int, kind: str = "png") -> bytes:
    """A tiny photograph that no other number has."""
    pixels = np.random.default_rng(number).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is enormous."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@lru_cache
def blank(width: int, height: int) -> bytes:
    """A PNG of all its pixels, a thousandth of their size."""
    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(1 + 3 * width)) for _ in range(height)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


IMAGES = tuple(picture(number, kind) for number, kind in enumerate(FORMATS))
IN_IMAGES = (
    *(b"IHDR", b"IDAT", b"IEND", b"tRNS", b"PLTE", b"\xff\xd8", b"\xff\xc0", b"\xff\xda", b"II*\x00", b"GIF89a"),
    *(b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", bomb(60_000, 60_000), bomb(13_000, 13_000)),
)
NAMES = (
    *(
        b"new\nline",
        b"\x1b[31m",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"x" * 255,
        "é".encode() * 120,
        b".hidden",
        b" ",
        b"a b",
    ),
    *(
        b"'",
        b'"',
        b"<b>",
        b"\\",
        b"~",
        b"-rf",
        b"CON",
        b"*",
        "\u202e\u2028".encode(),
        "数字".encode(),
        b"x.png",
        b"\x7f",
    ),
)


MEMORY = Path("/dev/shm")  # where there is one: on a disk most of the time goes into removing folders


@contextlib.contextmanager
def fresh() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


def write_tree(root: Path, domains: int = 3, per_class: int = 1) -> None:
    number = 0
    for domain in ("art", "photo", "sketch")[:domains]:
        for name in ("cat", "dog"):
            (root / domain / name).mkdir(parents=True)
            for index in range(per_class):
                (root / domain / name / f"{index}.png").write_bytes(picture(number := number + 1))


def spots(root: Path) -> list[Path]:
    """The root and all that is in it, without following links."""
    found = [Path(folder) / name for folder, names, files in os.walk(root) for name in (*names, *files)]
    return sorted([root, *found])


def put_in_its_place(draw: Draw, path: Path) -> None:
    remove(path)
    make: Callable[[Path], Any] = draw(
        st.sampled_from(
            [
                lambda path: path.write_bytes(b""),
                lambda path: path.write_bytes(bomb(60_000, 60_000)),
                lambda path: path.write_bytes(bomb(1, 2**31 - 1)),
                lambda path: path.write_bytes(blank(4_000, 4_000)),
                lambda path: path.write_bytes(blank(10_000, 10_000)),
                lambda path: path.mkdir(),
                lambda path: (path / "0.png").mkdir(parents=True),
                lambda path: path.symlink_to(path.name),  # leads to itself
                lambda path: path.symlink_to("nowhere"),
                lambda path: path.symlink_to(".."),
                *FOREIGN,
            ]
        )
    )
    make(path)


def mangle_image(draw: Draw, path: Path) -> None:
    if path.is_file() and not path.is_symlink():
        path.write_bytes(draw(mangled_bytes(IMAGES, IN_IMAGES)))


def rename(draw: Draw, path: Path) -> None:
    named = path.parent / os.fsdecode(draw(st.sampled_from(NAMES)) + draw(st.sampled_from([b"", b".png"])))
    if len(os.fsencode(named.name)) < 256 and not os.path.lexists(named):
        path.rename(named)


def add(draw: Draw, path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        folder = path / os.fsdecode(draw(st.sampled_from(NAMES)))
        image = folder / draw(st.sampled_from(["0.PNG", "notes.txt", "deeper/still/0.png", ".hidden.png"]))
        if not os.path.lexists(folder):
            image.parent.mkdir(parents=True)
            image.write_bytes(picture(draw(st.integers(0, 5))))


def drop(draw: Draw, path: Path) -> None:
    remove(path)


def mangle_tree(draw: Draw, root: Path) -> None:
    for _ in range(draw(st.sampled_from([1, 1, 2, 5]))):
        _, *inside = spots(root)
        if inside:
            change = draw(st.sampled_from([mangle_image, mangle_image, put_in_its_place, rename, add, drop]))
            change(draw, draw(st.sampled_from(inside)))
    if draw(st.integers(0, 9)) == 0:
        draw(st.sampled_from([put_in_its_place, drop, rename]))(draw, root)


def look_at(tree: Path, storage: Path) -> None:
    """All that is done with a tree, up to a sweep that is kept and read again."""
    config = DatasetConfig(name="ImageFolder", root=tree, image_size=SIZE)
    cache = storage / "cache"
    only_our_errors(
        lambda: describe(config),
        lambda: dataset_digest(config, cache),
        lambda: load_dataset(config, None),
        lambda: load_dataset(config, cache),
        lambda: check_dataset(config).in_words.encode(),
        lambda: check_dataset(DatasetConfig(name="PACS", root=tree)).in_words.encode(),
        lambda: keep(tree, storage),
    )


def keep(tree: Path, storage: Path) -> None:
    dataset = {"name": "ImageFolder", "root": str(tree), "image_size": SIZE}
    training = {"holdout": 0.5, "steps": 5}
    sweep = load({"name": "x", "dataset": dataset, "arms": [{}], "training": training, "defaults": {"batch_size": 1}})
    contents = read_contents(sweep)
    ledger = Ledger(storage / "x")
    write_sweep(ledger, sweep, contents)
    assert [run.key for run in read_plan(ledger.folder).runs] == [run.key for run in plan_sweep(sweep, contents).runs]


def test_what_is_mangled_was_right_before(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", per_class=2)
    config = DatasetConfig(name="ImageFolder", root=tmp_path / "tree", image_size=SIZE)
    assert len(load_dataset(config, tmp_path / "cache").domains) == 3
    keep(tmp_path / "tree", tmp_path)


@fuzzed
@given(st.data())
def test_a_mangled_tree(data: st.DataObject) -> None:
    with fresh() as folder:
        write_tree(folder / "tree", domains=data.draw(st.integers(1, 3)), per_class=data.draw(st.integers(1, 2)))
        mangle_tree(data.draw, folder / "tree")
        look_at(folder / "tree", folder / "storage")


def renamed(root: Path, place: str, name: str) -> None:
    """One domain, or one class in all domains, or one photograph."""
    for path in [path for path in spots(root) if path.match(place)]:
        path.rename(path.with_name(name + path.suffix))


@fuzzed
@given(
    place=st.sampled_from(["tree/photo", "tree/*/dog", "tree/art/cat/0.png"]),
    name=st.sampled_from(NAMES) | st.binary(min_size=1, max_size=20),
)
def test_a_strange_name_in_a_right_tree(place: str, name: bytes) -> None:
    with fresh() as folder:
        write_tree(folder / "tree", per_class=2)
        with contextlib.suppress(OSError, ValueError):  # a name that no file can have
            renamed(folder / "tree", place, os.fsdecode(name))
        look_at(folder / "tree", folder / "storage")


@fuzzed
@given(st.lists(mangled_bytes(IMAGES, IN_IMAGES), min_size=4, max_size=4))
def test_mangled_photographs_in_a_right_tree(contents: list[bytes]) -> None:
    with fresh() as folder:
        write_tree(folder / "tree", domains=1, per_class=2)
        images = [path for path in spots(folder / "tree") if path.is_file()]
        for path, content in zip(images, contents, strict=True):
            path.write_bytes(content)
        config = DatasetConfig(name="ImageFolder", root=folder / "tree", image_size=SIZE)
        only_our_errors(lambda: load_dataset(config, None))
        assert named_by(lambda: load_dataset(config, None)) == {image.got for image in check_dataset(config).unreadable}


def named_by(read: Callable[[], object]) -> set[object]:
    try:
        read()
    except InputError as error:
        return {fault.got for fault in error.faults}
    return set()


@fuzzed
@given(st.data())
def test_a_mangled_cache_is_made_again(cached: tuple[Path, Path, str], data: st.DataObject) -> None:
    tree, seed, digest = cached
    config = DatasetConfig(name="ImageFolder", root=tree, image_size=SIZE)
    with fresh() as folder:
        cache = folder / "cache"
        shutil.copytree(seed, cache)
        for _ in range(data.draw(st.integers(1, 3))):
            path = data.draw(st.sampled_from([*spots(cache)[1:], cache / "gone"]))
            is_small = path.is_file() and not path.is_symlink() and path.stat().st_size < 2**20
            if is_small and data.draw(st.booleans()):
                path.write_bytes(data.draw(mangled_bytes([path.read_bytes()], [b"\x93NUMPY", b"PK\x03\x04"])))
            elif path.exists():
                data.draw(st.sampled_from([put_in_its_place, drop]))(data.draw, path)
        only_our_errors(
            lambda: equal(dataset_digest(config, cache), digest), lambda: equal(shapes(config, cache), SHAPES)
        )


SHAPES = {"art": (2, 3, SIZE, SIZE), "photo": (2, 3, SIZE, SIZE), "sketch": (2, 3, SIZE, SIZE)}


def shapes(config: DatasetConfig, cache: Path) -> dict[str, tuple[int, ...]]:
    return {domain.name: tuple(domain.images.shape) for domain in load_dataset(config, cache).domains}


def equal(found: object, expected: object) -> None:
    assert found == expected


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A tree, its cache, its digest."""
    folder = tmp_path_factory.mktemp("cached")
    write_tree(folder / "tree")
    config = DatasetConfig(name="ImageFolder", root=folder / "tree", image_size=SIZE)
    load_dataset(config, folder / "cache")
    return folder / "tree", folder / "cache", dataset_digest(config, None)


def state_files() -> tuple[bytes, ...]:
    state = small_cnn((1, SIZE, SIZE))[0].state_dict()
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(state, new)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    return new.getvalue(), old.getvalue(), save(state)


@fuzzed
@given(data=st.data(), suffix=st.sampled_from([".pt", ".safetensors"]))
def test_a_mangled_file_of_weights(
    tmp_path: Path, weights: tuple[bytes, ...], suffix: str, data: st.DataObject
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data.draw(mangled_bytes(weights, [b"PK\x03\x04", b"\x80\x02", b"cos\nsystem\n", b"F32", b"U8"])))
    only_our_errors(lambda: load_featurizer(small_cnn((1, SIZE, SIZE))[0], str(path)))


@fuzzed
@given(data=st.data(), suffix=st.sampled_from([".pt", ".safetensors"]))
def test_what_is_no_file_of_weights(weights: tuple[bytes, ...], suffix: str, data: st.DataObject) -> None:
    with fresh() as folder:
        path = folder / f"weights{suffix}"
        path.write_bytes(data.draw(st.sampled_from(weights)))
        if data.draw(st.integers(0, 4)) == 0:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("archive/data/0", bytes(2**24))
        else:
            put_foreign(data.draw, path)
        only_our_errors(lambda: load_featurizer(small_cnn((1, SIZE, SIZE))[0], str(path)))


@pytest.fixture(scope="module")
def weights() -> tuple[bytes, ...]:
    return state_files()


STRANGE: tuple[Any, ...] = (
    *(None, 1, "x", [1.0], {"a": 1}, torch.zeros(1), torch.zeros(0), torch.tensor(1), torch.full((3, 3), torch.nan)),
    *(torch.zeros(2, dtype=torch.complex64), torch.zeros(2, dtype=torch.bool), torch.eye(3).to_sparse()),
    *(torch.empty(3, device="meta"), torch.zeros(2, dtype=torch.bfloat16)),
)


@fuzzed
@given(data=st.data())
def test_a_file_of_other_weights(tmp_path: Path, data: st.DataObject) -> None:
    state: Any = small_cnn((1, SIZE, SIZE))[0].state_dict()
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from([*state, "fc.weight", 3, ("a",)]))
        state[name] = data.draw(st.sampled_from(STRANGE) | values)
    torch.save(data.draw(st.sampled_from([state, list(state), {"state_dict": state}, None])), tmp_path / "weights.pt")
    only_our_errors(lambda: load_featurizer(small_cnn((1, SIZE, SIZE))[0], str(tmp_path / "weights.pt")))


VLCS = tuple(
    f"VLCS/{domain}/{name}/0.png"
    for domain in ("Caltech101", "LabelMe", "SUN09", "VOC2007")
    for name in ("bird", "car", "chair", "dog", "person")
)


def archives() -> Mapping[str, bytes]:
    files = {path: picture(number) for number, path in enumerate(VLCS)}
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for number, (path, content) in enumerate(files.items()):
            methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
            archive.writestr(path, content, methods[number % 4])
    return {".zip": zipped.getvalue(), ".tar": tarred(files, "w"), ".tgz": tarred(files, "w:gz")}


def tarred(files: Mapping[str, bytes], mode: Any, **fields: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


ARCHIVES = archives()
IN_ARCHIVES = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"ustar", b"../../x", b"\xff" * 8, b"-1\x00")


def prepare(folder: Path, download: Path, name: str = "VLCS") -> None:
    """Whatever the archive holds, the tree is whole or not there, and nothing lies beside it."""
    before = set(spots(folder))
    only_our_errors(lambda: prepare_dataset(name, download, folder / "root"))
    assert {path for path in set(spots(folder)) - before if not path.is_relative_to(folder / "root")} == set()


@fuzzed
@given(st.data())
def test_an_archive_of_mangled_bytes(data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(sorted(ARCHIVES)))
    with fresh() as folder:
        download = folder / f"VLCS{suffix}"
        download.write_bytes(data.draw(mangled_bytes([ARCHIVES[suffix]], IN_ARCHIVES)))
        prepare(folder, download)


MEMBERS = (
    *("../x.png", "/tmp/x.png", "VLCS/../../x.png", "a/./b/c.png", "a//b/c.png", "\\x.png", "C:\\x.png", "~/x.png"),
    *("VLCS/SUN09/dog/\nx.png", "VLCS/SUN09/dog/\udcff.png", "VLCS/SUN09/dog/" + "x" * 300 + ".png", "x" * 5000),
    *("VLCS/SUN09/../0.png", "VLCS/SUN09/./0.png", "VLCS/SUN09/dog", "VLCS/SUN09/dog/0.png/0.png", "x.json", ".png"),
)
KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
PAX = st.dictionaries(
    st.sampled_from(
        ["path", "size", "linkpath", "uid", "mtime", "GNU.sparse.size", "GNU.sparse.map", "GNU.sparse.major"]
    ),
    st.sampled_from(["-1024", "-2048", "10**9", "9" * 30, "x", "../x.png", "a\0b", "1", "0,1,2", "1e400", ""]),
    max_size=2,
)


@fuzzed
@given(
    st.lists(st.tuples(st.sampled_from(MEMBERS), st.sampled_from(KINDS), st.sampled_from(MEMBERS), PAX), max_size=3),
    st.sampled_from(["w", "w:gz"]),
)
def test_an_archive_with_strange_members(strange: list[tuple[Any, ...]], mode: Any) -> None:
    with fresh() as folder:
        download = folder / ("VLCS.tar" if mode == "w" else "VLCS.tgz")
        with tarfile.open(download, mode, format=tarfile.PAX_FORMAT) as archive:
            for path, kind, link, pax in strange:
                member = tarfile.TarInfo(path)
                member.type, member.linkname, member.pax_headers = kind, link, dict(pax)
                archive.addfile(member)
            for number, path in enumerate(VLCS):
                member = tarfile.TarInfo(path)
                member.size = len(picture(number))
                archive.addfile(member, io.BytesIO(picture(number)))
        prepare(folder, download)


@fuzzed
@given(st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=3), st.sampled_from([0, 0o120777, 0o060777]))
def test_a_zip_with_strange_members(strange: list[str], mode: int) -> None:
    with fresh() as folder:
        download = folder / "VLCS.zip"
        with zipfile.ZipFile(download, "w") as archive:
            for path in dict.fromkeys((*strange, *VLCS)):
                entry = zipfile.ZipInfo(path.encode(errors="replace").decode())
                entry.external_attr = mode << 16 if path in strange else 0
                archive.writestr(entry, picture(0))
        prepare(folder, download)


SPECIES = ("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel")
LOCATIONS = ("38", "46", "100", "43")
ANNOTATIONS = {
    "categories": [{"id": number, "name": name} for number, name in enumerate(SPECIES)],
    "images": [
        {"id": f"{location}-{number}", "location": location, "file_name": f"{location}-{number}.jpg"}
        for location in LOCATIONS
        for number in range(len(SPECIES))
    ],
    "annotations": [
        {"image_id": f"{location}-{number}", "category_id": number}
        for location in LOCATIONS
        for number in range(len(SPECIES))
    ],
}
FIELDS = ("id", "name", "location", "file_name", "image_id", "category_id", "images", "categories", "annotations")


@fuzzed
@given(mangled_data([ANNOTATIONS], FIELDS).map(as_json) | mangled_bytes([as_json(ANNOTATIONS)]))
def test_mangled_annotations(annotations: bytes) -> None:
    with fresh() as folder:
        photographs = folder / "download" / "eccv_18_all_images_sm"
        photographs.mkdir(parents=True)
        for number, image in enumerate(ANNOTATIONS["images"]):
            (photographs / str(image["file_name"])).write_bytes(picture(number))
        (folder / "download" / "caltech_camera_traps.json").write_bytes(annotations)
        prepare(folder, folder / "download", "TerraIncognita")


@fuzzed
@given(st.data())
def test_a_mangled_download(data: st.DataObject) -> None:
    with fresh() as folder:
        for number, path in enumerate(VLCS):
            (folder / "download" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "download" / path).write_bytes(picture(number))
        mangle_tree(data.draw, folder / "download")
        prepare(folder, folder / "download")


def write_bomb(file: Path, megabytes: int) -> None:
    """An archive of annotations that is a thousandth of what it holds."""
    name, images = "caltech_camera_traps.json", b'{"id":"","location":0,"file_name":""},' * 30_000
    pieces = [b'{"images":[', *[images] * megabytes, b"{}]}"]
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as member:
            for piece in pieces:
                member.write(piece)
        return
    info = tarfile.TarInfo(name)
    info.size = sum(map(len, pieces))
    with gzip.open(file, "wb") as packed:
        for piece in (info.tobuf(), *pieces, bytes(2**14)):
            packed.write(piece)


@lru_cache
def bomb_file(suffix: str, megabytes: int) -> bytes:
    with fresh() as folder:
        write_bomb(folder / f"bomb{suffix}", megabytes)
        return (folder / f"bomb{suffix}").read_bytes()


@fuzzed
@given(st.data())
def test_a_download_that_is_no_file_or_a_bomb(data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from(sorted(ARCHIVES)))
    with fresh() as folder:
        download = folder / f"download{suffix}"
        if suffix != ".tar" and data.draw(st.integers(0, 4)) == 0:
            download.write_bytes(bomb_file(suffix, data.draw(st.sampled_from([1, 100, 200]))))
            prepare(folder, download, "TerraIncognita")
            return
        download.write_bytes(ARCHIVES[suffix])
        put_foreign(data.draw, download)
        prepare(folder, download)


DUPLICATES = "".join(f"{domain}/cat/{number}.jpg\n" for domain in ("clipart", "real") for number in range(9)).encode()


@fuzzed
@given(st.data())
def test_a_list_of_duplicates_that_is_no_file_or_mangled(data: st.DataObject) -> None:
    with fresh() as folder:
        file = folder / "duplicates.txt"
        file.write_bytes(data.draw(mangled_bytes([DUPLICATES])))
        if data.draw(st.booleans()):
            put_foreign(data.draw, file)
        only_our_errors(lambda: read_duplicates(file, ("clipart", "real")))
