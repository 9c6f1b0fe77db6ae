"""Rows of parquet files become a tree: `image`, `domain` and `label`, as datasets of Hugging Face have them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_downloads import PACS, content, lay, picture, tree

from gga_sweep.datasets import ParquetColumns, load_dataset, prepare_dataset
from gga_sweep.datasets import prepare as prepare_module
from gga_sweep.datasets.catalogue import BENCHMARKS
from gga_sweep.datasets.config import DatasetConfig
from gga_sweep.errors import InputError

CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(file: Path, features: dict[str, Sequence[str]] | None = None, **columns: Any) -> Path:
    """A parquet file; `features` are the names of classes that Hugging Face would store in its metadata."""
    table = pa.table(columns)
    if features is not None:
        described = {column: {"names": [*names], "_type": "ClassLabel"} for column, names in features.items()}
        stored = {"info": {"features": {"image": {"_type": "Image"}, **described}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(stored)})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=5)
    return file


def images(names: Sequence[str]) -> pa.Array:
    return pa.array([{"bytes": picture(name), "path": name.rpartition("/")[2]} for name in names], IMAGE)


def pacs(folder: Path, files: int = 1) -> Path:
    """As `flwrlabs/pacs`: label ids, domains as text, and the original names of images."""
    rows = sorted(PACS, key=lambda path: path[::-1])  # in no order of the tree's
    for number in range(files):
        part = rows[number::files]
        write(
            folder / f"data/train-{number:05d}-of-{files:05d}.parquet",
            {"label": CLASSES},
            image=images(part),
            domain=[path.split("/")[0] for path in part],
            label=pa.array([CLASSES.index(path.split("/")[1]) for path in part], pa.int64()),
        )
    return folder


def toy(file: Path, **changes: Any) -> Path:
    """Two domains of two classes."""
    columns = {
        "image": images(["a", "b", "c", "d"]),
        "domain": ["art", "art", "photo", "photo"],
        "label": ["cat", "dog", "cat", "dog"],
    }
    return write(file, **{**columns, **changes})


@pytest.mark.parametrize("files", [1, 3])
def test_parquet_of_a_benchmark_becomes_the_tree_of_its_archive(tmp_path: Path, files: int) -> None:
    made = prepare_dataset("PACS", pacs(tmp_path / "in", files), tmp_path / "PACS")
    assert tree(tmp_path / "PACS") == content(PACS)
    assert (made.copied, made.linked, made.check.images) == (56, 0, 56)


def test_a_file_of_whichever_domains_becomes_an_image_folder(tmp_path: Path) -> None:
    made = prepare_dataset("ImageFolder", toy(tmp_path / "toy.parquet"), tmp_path / "tree")
    assert tree(tmp_path / "tree") == {
        "art/cat/00000000.png": picture("a"),
        "art/dog/00000001.png": picture("b"),
        "photo/cat/00000002.png": picture("c"),
        "photo/dog/00000003.png": picture("d"),
    }
    assert made.check.faults == ()
    dataset = load_dataset(DatasetConfig(name="ImageFolder", root=tmp_path / "tree", image_size=8), None)
    assert (dataset.classes, dataset.domain_sizes) == (("cat", "dog"), {"art": 2, "photo": 2})


def test_columns_of_other_names_and_numbers_are_read(tmp_path: Path) -> None:
    """As `wltjr1007/Camelyon17-WILDS`: the center is a number, and the label an id."""
    file = write(
        tmp_path / "in/train.parquet",
        {"tumor": ("normal", "tumor")},
        patch=pa.array([picture(name) for name in "abcd"], pa.large_binary()),
        center=pa.array([0, 0, 3, 3], pa.int8()),
        tumor=pa.array([0, 1, 1, 0], pa.uint8()),
    )
    columns = ParquetColumns(image="patch", domain="center", label="tumor")
    prepare_dataset("ImageFolder", file.parent, tmp_path / "tree", columns=columns)
    assert tree(tmp_path / "tree") == {
        "0/normal/00000000.png": picture("a"),
        "0/tumor/00000001.png": picture("b"),
        "3/tumor/00000002.png": picture("c"),
        "3/normal/00000003.png": picture("d"),
    }


def test_names_of_domains_may_be_ids_and_dictionaries(tmp_path: Path) -> None:
    labels = pa.array(["cat", "dog", "cat", "dog"]).dictionary_encode()
    file = toy(tmp_path / "toy.parquet", features={"domain": ("photo", "art")}, domain=[1, 1, 0, 0], label=labels)
    prepare_dataset("ImageFolder", file, tmp_path / "tree")
    assert {path.rpartition("/")[0] for path in tree(tmp_path / "tree")} == {
        f"{domain}/{label}" for domain in ("art", "photo") for label in ("cat", "dog")
    }


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x.jpg", "y.PNG"], ["x.jpg", "y.PNG"]),
        (["/cache/1/x.jpg", "../../y.jpg"], ["x.jpg", "y.jpg"]),
        (["1/x.jpg", "2/x.jpg"], ["00000000.jpg", "00000001.jpg"]),
        (["x.jpg", ""], ["00000000.jpg", "00000001.png"]),
        (["x.jpg", None], ["00000000.jpg", "00000001.png"]),
        (["x.txt", "y.jpg"], ["00000000.png", "00000001.jpg"]),
        ([".x.jpg", "y.jpg"], ["00000000.jpg", "00000001.jpg"]),
        (["..", "y.jpg"], ["00000000.png", "00000001.jpg"]),
    ],
)
def test_images_keep_their_names_where_those_are_different_and_plain(
    tmp_path: Path, paths: list[str], names: list[str]
) -> None:
    column = [{"bytes": picture(str(row)), "path": path} for row, path in enumerate([*paths, "3.jpg", "4.jpg"])]
    file = toy(
        tmp_path / "toy.parquet",
        image=pa.array(column, IMAGE),
        domain=["art"] * 4,
        label=["cat", "cat", "dog", "dog"],
    )
    prepare_dataset("ImageFolder", file, tmp_path / "tree")
    assert [path.name for path in sorted((tmp_path / "tree/art/cat").iterdir())] == sorted(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.parquet", "tree"]


def test_links_to_files_are_read_as_in_the_cache_of_hugging_face(tmp_path: Path) -> None:
    blob = toy(tmp_path / "blobs/1f2e.parquet")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/train.parquet").symlink_to(blob)
    (tmp_path / "snapshot/.hidden.parquet").write_text("no parquet")
    assert prepare_dataset("ImageFolder", tmp_path / "snapshot", tmp_path / "tree").copied == 4


def test_listed_duplicates_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"art": 1, "photo": 2}
    small = {**BENCHMARKS, "DomainNet": BENCHMARKS["DomainNet"].__class__("DomainNet", sizes, 2, has_duplicates=True)}
    monkeypatch.setattr(prepare_module, "BENCHMARKS", small)
    lay(tmp_path, {"duplicates.txt": b"art/cat/00000000.png\n"})
    file = toy(tmp_path / "toy.parquet", image=images([*"abcd"]))
    made = prepare_dataset("DomainNet", file, tmp_path / "Net", duplicates=tmp_path / "duplicates.txt")
    assert (made.copied, made.duplicates) == (3, 1)
    assert "art/cat/00000000.png" not in tree(tmp_path / "Net")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"label": pa.array([0, 1, 2, -1])},
            "toy.parquet: column label: must hold text or numbers from 0, got ['-1']",
        ),
        (
            {"label": pa.array([0, 1, 2, -1]), "features": {"label": ("cat", "dog")}},
            "column label: must hold ids of its classes, got ['2', '-1'] (allowed: 0 to 1)",
        ),
        ({"label": ["cat", None, "cat", "dog"]}, "column label: must hold text or numbers from 0, got ['None']"),
        ({"label": [0.5, 1.0, 0.5, 1.0]}, "column label: must hold text or numbers from 0, got ['0.5', '1.0']"),
        (
            {"label": [["cat"], [], [], []]},
            "column label: must hold text or numbers from 0, got 'list<element: string>'",
        ),
        (
            {"domain": ["art", "../art", "photo", "a/b"]},
            "column domain: values become folders: must be names in one line, without / and not beginning with a dot, "
            "got ['../art', 'a/b']",
        ),
        ({"label": ["cat", "..", ".git", ""]}, "not beginning with a dot, got ['..', '.git', '']"),
        (
            {"label": pa.array([0, 1, 0, 1]), "features": {"label": ("cat", "a/../../b")}},
            "not beginning with a dot, got ['a/../../b']",
        ),
        (
            {"image": ["a", "b", "c", "d"]},
            "column image: must hold images as bytes, or as a struct of bytes and path, got 'string'",
        ),
        (
            {"image": pa.array([{"bytes": None, "path": "/etc/hostname"}] * 4, IMAGE)},
            "column image: must hold the bytes of each image, not only its path, got 'row 0'",
        ),
        (
            {"image": pa.array([b"", b"", b"", None])},
            "must hold the bytes of each image, not only its path, got 'row 3'",
        ),
        ({"label": ["cat", "cat", "cat", "dog"]}, "lacks ['dog']"),
    ],
)
def test_rows_that_are_no_images_of_domains_and_classes_leave_nothing(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = toy(tmp_path / "toy.parquet", **changes)
    with pytest.raises(InputError) as raised:
        prepare_dataset("ImageFolder", file, tmp_path / "tree")
    assert message in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.parquet"]


def test_a_missing_column_is_named_beside_those_that_exist(tmp_path: Path) -> None:
    write(tmp_path / "in/a.parquet", image=images("ab"), place=["art", "art"], label=["cat", "dog"])
    toy(tmp_path / "in/b.parquet")
    with pytest.raises(InputError) as raised:
        prepare_dataset("ImageFolder", tmp_path / "in", tmp_path / "tree")
    (fault,) = raised.value.faults
    assert str(fault) == (
        "a.parquet: column domain: must exist (--domain-column names the column of domains), got ['image', 'place', "
        "'label']"
    )


def test_all_missing_columns_of_all_files_are_named_together(tmp_path: Path) -> None:
    write(tmp_path / "in/a.parquet", x=[1])
    write(tmp_path / "in/b.parquet", image=images("a"), label=[1])
    with pytest.raises(InputError) as raised:
        prepare_dataset("ImageFolder", tmp_path / "in", tmp_path / "tree")
    assert [fault.field for fault in raised.value.faults] == [
        *(f"a.parquet: column {name}" for name in ("image", "domain", "label")),
        "b.parquet: column domain",
    ]


@pytest.mark.parametrize("damage", ["no parquet", "cut"])
def test_a_broken_file_is_named(tmp_path: Path, damage: str) -> None:
    file = toy(tmp_path / "toy.parquet")
    file.write_bytes(b"no parquet" if damage == "no parquet" else file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"\n  toy\.parquet: must be a readable parquet file \("):
        prepare_dataset("ImageFolder", file, tmp_path / "tree")


def test_altered_bytes_of_a_file_raise_input_errors_alone(tmp_path: Path) -> None:
    whole = toy(tmp_path / "toy.parquet").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(100):
        altered = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            altered[place] = rng.integers(256)
        (tmp_path / "toy.parquet").write_bytes(altered)
        try:
            prepare_dataset("ImageFolder", tmp_path / "toy.parquet", tmp_path / f"tree-{trial}")
        except InputError:
            refused += 1
            assert not (tmp_path / f"tree-{trial}").exists()
    assert refused > 50


def test_images_that_do_not_open_are_named_by_the_check(tmp_path: Path) -> None:
    broken = pa.array([picture("a"), b"no picture", picture("c"), picture("d")])
    made = prepare_dataset("ImageFolder", toy(tmp_path / "toy.parquet", image=broken), tmp_path / "tree")
    (fault,) = made.check.faults
    assert str(fault).startswith("dataset.root: image must open (not of the formats BMP")
    assert fault.got == "art/dog/00000001.png"


def test_domains_of_another_dataset_are_refused_with_those_of_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"column domain: must hold domains of the benchmark, got \['art'\] \(allowed: art_"
    ):
        prepare_dataset("PACS", toy(tmp_path / "toy.parquet"), tmp_path / "PACS")


def test_an_image_folder_needs_parquet_files_and_columns_do_too(tmp_path: Path) -> None:
    lay(tmp_path / "in", content(PACS))
    with pytest.raises(InputError, match="name: must be a benchmark, got 'ImageFolder'"):
        prepare_dataset("ImageFolder", tmp_path / "in", tmp_path / "tree")
    with pytest.raises(InputError, match="columns: are of parquet files, and the download holds none"):
        prepare_dataset("PACS", tmp_path / "in", tmp_path / "tree", columns=ParquetColumns())


def test_too_little_room_is_noticed_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toy(tmp_path / "toy.parquet", image=pa.array([bytes([value]) * 5000 for value in range(4)]))
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage(4 * 2 * 4096 - 1))
    with pytest.raises(InputError, match="must lie where 32,768 bytes are free"):
        prepare_dataset("ImageFolder", file, tmp_path / "tree")


def test_reading_a_file_loads_no_torch_and_importing_no_pyarrow(tmp_path: Path) -> None:
    file = toy(tmp_path / "toy.parquet")
    code = (
        "import sys; from pathlib import Path; import gga_sweep; from gga_sweep.datasets import prepare_dataset\n"
        "before = {'pyarrow'} & {*sys.modules}\n"
        f"prepare_dataset('ImageFolder', Path({str(file)!r}), Path({str(tmp_path / 'tree')!r}))\n"
        "print(before, {'torch', 'pandas'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set() set()\n"
