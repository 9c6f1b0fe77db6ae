"""A manifest sees paths and contents, not places and times, and reads nothing twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gga_sweep.datasets import manifest
from gga_sweep.datasets.manifest import read_manifest
from gga_sweep.errors import InputError

WriteTree = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "tree")


def write(root: Path) -> Path:
    for path, content in {"b/x/1.png": b"one", "a/x/2.png": b"two", "a/x/10.png": b"ten"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def paths(root: Path) -> list[str]:
    return [file.relative_to(root).as_posix() for file in root.rglob("*.png")]


def digest(root: Path, cache_dir: Path | None = None) -> str:
    return read_manifest(root, paths(root), cache_dir).digest


def forbid_reading(path: Path) -> str:
    raise AssertionError(f"{path} was read")


def test_entries_are_sorted_by_path_and_carry_sizes(root: Path) -> None:
    entries = read_manifest(root, paths(root), None).entries
    assert [(entry.path, entry.size) for entry in entries] == [("a/x/10.png", 3), ("a/x/2.png", 3), ("b/x/1.png", 3)]
    assert len({entry.content for entry in entries}) == 3


def test_the_digest_depends_neither_on_place_nor_on_time(root: Path, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "other" / "place")
    os.utime(elsewhere / "a/x/2.png", ns=(1, 1))
    assert digest(elsewhere) == digest(root)


@pytest.mark.parametrize("change", ["content", "path", "new file", "missing file", "exchanged"])
def test_the_digest_sees_a_change_of(root: Path, change: str) -> None:
    before = digest(root)
    first, second = root / "a/x/2.png", root / "b/x/1.png"
    if change == "content":
        first.write_bytes(b"TWO")
    elif change == "path":
        first.rename(root / "a/x/3.png")
    elif change == "new file":
        (root / "a/x/4.png").write_bytes(b"")
    elif change == "missing file":
        first.unlink()
    else:
        one, other = first.read_bytes(), second.read_bytes()
        first.write_bytes(other)
        second.write_bytes(one)
    assert digest(root) != before


def test_a_second_start_reads_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(root, tmp_path / "cache")
    monkeypatch.setattr(manifest, "content_hash", forbid_reading)
    assert digest(root, tmp_path / "cache") == before
    with pytest.raises(AssertionError, match="was read"):
        digest(root, tmp_path / "other cache")


def test_only_a_touched_file_is_read_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(root, tmp_path / "cache")
    touched = root / "a/x/2.png"
    touched.write_bytes(b"TWO")
    os.utime(touched, ns=(1, 1))
    read: list[bytes] = []

    def note(content: bytes) -> str:
        read.append(content)
        return "a new hash"

    monkeypatch.setattr(manifest, "content_hash", note)
    assert digest(root, tmp_path / "cache") != before
    assert read == [b"TWO"]


def test_the_cache_is_one_json_file_a_tree(root: Path, tmp_path: Path) -> None:
    digest(root, tmp_path / "cache")
    digest(write(tmp_path / "second"), tmp_path / "cache")
    names = sorted(file.name for file in (tmp_path / "cache" / "manifests").iterdir())
    assert [name.rpartition("-")[0] for name in names] == ["second", "tree"]
    assert all(name.endswith(".json") for name in names)


def test_every_unreadable_file_is_named(root: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_manifest(root, ["a/x/gone.png", "a/x/2.png", "b/x/lost.png"], None)
    assert len(raised.value.faults) == 2
    assert "(No such file or directory), got 'a/x/gone.png'" in str(raised.value)
    assert "(No such file or directory), got 'b/x/lost.png'" in str(raised.value)
