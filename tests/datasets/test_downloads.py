"""What a download holds, read from folders and archives; archives that reach outside themselves."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from small_downloads import content, lay, picture, tarred, tree, zipped

from gga_sweep.datasets.downloads import archives_in, copy_files, list_archive, list_folder, read_file
from gga_sweep.errors import InputError

Pack = Callable[[Path, Mapping[str, bytes]], Path]

FILES = content(["a/cat/1.png", "a/cat/2.JPG", "b/dog/1.jpeg"])
PACKED = [("x.zip", zipped), ("x.tar", tarred), ("x.tar.gz", tarred), ("x.TGZ", tarred)]


def test_a_folder_is_listed_with_sizes(tmp_path: Path) -> None:
    lay(tmp_path, FILES)
    assert {file.path: file.size for file in list_folder(tmp_path)} == {path: len(data) for path, data in FILES.items()}
    assert [file.path for file in list_folder(tmp_path)] == sorted(FILES)


def test_hidden_files_links_and_other_kinds_are_skipped(tmp_path: Path) -> None:
    lay(tmp_path / "download", FILES)
    junk = {
        ".hidden/1.png": b"",
        "a/cat/._1.png": b"",
        "__MACOSX/a/cat/1.png": b"",
        "a/notes.txt": b"",
        "b/list.md": b"",
    }
    lay(tmp_path / "download", junk)
    lay(tmp_path / "elsewhere", content(["cat/9.png"]))
    (tmp_path / "download" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "download" / "a" / "cat" / "9.png").symlink_to(tmp_path / "elsewhere" / "cat" / "9.png")

    assert {file.path for file in list_folder(tmp_path / "download")} == set(FILES)
    archive = zipped(tmp_path / "x.zip", {**FILES, **junk})
    assert {file.path for file in list_archive(archive)} == set(FILES)


@pytest.mark.parametrize(("name", "pack"), PACKED)
def test_an_archive_is_listed_as_the_folder_it_holds(tmp_path: Path, name: str, pack: Pack) -> None:
    archive = pack(tmp_path / name, {"./" + path: data for path, data in FILES.items()})
    assert {file.path: file.size for file in list_archive(archive)} == {path: len(data) for path, data in FILES.items()}
    assert all(file.packed and file.place == archive for file in list_archive(archive))


@pytest.mark.parametrize(("name", "pack"), PACKED)
def test_members_are_written_where_they_are_wanted_and_nowhere_else(tmp_path: Path, name: str, pack: Pack) -> None:
    found = {file.path: file for file in list_archive(pack(tmp_path / name, FILES))}
    wanted = {
        "x/y/first.png": found["a/cat/1.png"],
        "x/z/second.png": found["a/cat/1.png"],
        "x/y/third.jpg": found["b/dog/1.jpeg"],
    }

    written = list(copy_files(wanted, tmp_path / "target", link=False))

    assert sorted(written) == sorted(wanted)
    assert tree(tmp_path / "target") == {
        "x/y/first.png": picture("a/cat/1.png"),
        "x/z/second.png": picture("a/cat/1.png"),
        "x/y/third.jpg": picture("b/dog/1.jpeg"),
    }


@pytest.mark.parametrize("link", [False, True])
def test_unpacked_files_are_copied_or_linked(tmp_path: Path, link: bool) -> None:
    lay(tmp_path / "download", FILES)
    wanted = {file.path: file for file in list_folder(tmp_path / "download")}

    assert sorted(copy_files(wanted, tmp_path / "target", link)) == sorted(FILES)

    assert tree(tmp_path / "target") == FILES
    same = (tmp_path / "target/a/cat/1.png").samefile(tmp_path / "download/a/cat/1.png")
    assert same == link


@pytest.mark.parametrize(("name", "pack"), [("x.zip", zipped), ("x.tar.gz", tarred)])
def test_one_file_is_read_from_where_it_lies(tmp_path: Path, name: str, pack: Pack) -> None:
    files = {"b.json": b"[2]", "a.json": b"[1]"}
    packed = {file.path: file for file in list_archive(pack(tmp_path / name, files))}
    unpacked = {file.path: file for file in list_folder(lay(tmp_path / "download", files))}
    assert [read_file(place["a.json"]) for place in (packed, unpacked)] == [b"[1]", b"[1]"]


@pytest.mark.parametrize("path", ["../out.png", "a/../../out.png", "/tmp/out.png", "./../out.png", "a/cat/../../x.txt"])
@pytest.mark.parametrize(("name", "pack"), [("x.zip", zipped), ("x.tar.gz", tarred)])
def test_an_archive_that_names_a_path_outside_itself_is_refused(
    tmp_path: Path, name: str, pack: Pack, path: str
) -> None:
    archive = pack(tmp_path / "in" / name, {**FILES, path: b"x"})
    with pytest.raises(InputError, match=r"may not name a path outside itself, got .*(out\.png|x\.txt)"):
        list_archive(archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_tar_with_links_or_devices_is_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("a/cat/3.png")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(InputError, match=r"may not hold links or devices .*got \['a/cat/3.png'\]"):
        list_archive(tmp_path / "x.tar")


def test_a_zip_with_links_is_refused(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("a/cat/3.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(InputError, match="may not hold links"):
        list_archive(tmp_path / "x.zip")


def test_only_the_first_of_many_bad_names_are_shown(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {f"../{index}.png": b"" for index in range(8)})
    with pytest.raises(InputError, match=r"'\.\./4\.png', 'and 3 more'\]"):
        list_archive(archive)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
@pytest.mark.parametrize("damage", ["no archive", "cut short"])
def test_a_broken_archive_is_named(tmp_path: Path, name: str, damage: str) -> None:
    pack = zipped if name.endswith("zip") else tarred
    data = pack(tmp_path / name, FILES).read_bytes()
    cut = 512 * 5 + 9 if name == "x.tar" else len(data) // 2  # half of a small tar is padding
    (tmp_path / name).write_bytes(b"no archive" if damage == "no archive" else data[:cut])
    with pytest.raises(InputError, match=rf"archive must be readable .*got '{name}'"):
        list_archive(tmp_path / name)


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    wanted = {file.path: file for file in list_folder(lay(tmp_path / "download", FILES))}
    (tmp_path / "download/a/cat/1.png").unlink()
    with pytest.raises(InputError, match=r"No such file or directory\), got '.*a/cat/1\.png'"):
        list(copy_files(wanted, tmp_path / "target", link=False))


def test_archives_are_found_directly_in_the_folder(tmp_path: Path) -> None:
    for name in ("b.zip", "a.tar.gz", "c.ZIP", "notes.txt", "deeper/d.zip"):
        lay(tmp_path, {name: b""})
    (tmp_path / "folder.zip").mkdir()
    assert [file.name for file in archives_in(tmp_path)] == ["a.tar.gz", "b.zip", "c.ZIP"]


def test_a_compressed_archive_is_read_once_through(tmp_path: Path) -> None:
    """Two members of one name, as an appended tar has them: the first is meant, and nothing is written twice."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for data in (picture("one"), picture("two")):
            member = tarfile.TarInfo("a/cat/1.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    wanted = {file.path: file for file in list_archive(tmp_path / "x.tar")}
    assert list(copy_files(wanted, tmp_path / "target", link=False)) == ["a/cat/1.png"]
    assert tree(tmp_path / "target") == {"a/cat/1.png": picture("one")}
