"""List and read the files of a download, in folders and in archives, and write the selected ones into a tree.

Archives are not trusted: files are written to paths that the layout makes, never to a member's own path, and an archive
that names a path outside itself, or holds a link, is refused.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from gga_sweep.datasets.files import for_each, is_hidden, shown
from gga_sweep.datasets.image_folder import IMAGE_SUFFIXES
from gga_sweep.errors import Fault, GGASweepError, InputError
from gga_sweep.input_files import open_regular, read_regular

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
PARQUET_SUFFIX = ".parquet"

_LARGEST_TEXT = 2**27  # bytes of a JSON file: TerraIncognita's annotations have less
_TEXT_SUFFIXES = (".json", ".csv")
_AT_ONCE = 2**20  # bytes that are read of an archive in one piece, such as a header of a .tar


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """An image, a JSON file or a table of a download.

    Args:
        path: below the download's folder or in its archive, with forward slashes; of a parquet file, column/row.
        size: bytes; of a row of a parquet file, their mean.
        place: the download's folder, the archive, or the parquet file.
        packed: whether the place is an archive or a parquet file.
    """

    path: str
    size: int
    place: Path
    packed: bool


def list_folder(folder: Path) -> list[DownloadedFile]:
    """Images, JSON files and tables at any depth; hidden ones and symbolic links are skipped."""
    found: list[DownloadedFile] = []
    waiting = [""]
    while waiting:
        above = waiting.pop()
        with os.scandir(folder / above) as entries:
            visible = [entry for entry in entries if not entry.is_symlink() and not is_hidden(entry.name)]
        for entry in visible:
            if entry.is_dir():
                waiting.append(f"{above}{entry.name}/")
            elif entry.is_file() and _wanted(entry.name):
                found.append(DownloadedFile(above + entry.name, entry.stat().st_size, folder, packed=False))
    return sorted(found, key=lambda file: file.path.split("/"))


def archives_in(folder: Path) -> list[Path]:
    """The archives directly in a folder, sorted."""
    return sorted(file for file in folder.iterdir() if file.name.lower().endswith(ARCHIVE_SUFFIXES) and file.is_file())


def list_archive(archive: Path) -> list[DownloadedFile]:
    """Images, JSON files and tables in a .zip or .tar, .tar.gz, .tgz.

    Raises:
        InputError: it cannot be read, or a member lies outside the archive or is a link.
    """
    with _readable(archive):
        members = {member.path: member for member in _members(archive)}
    outside = [path for path in members if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts]
    links = [path for path, member in members.items() if member.is_link]
    faults = []
    if outside:
        faults.append(Fault("download", "an archive may not name a path outside itself", shown(outside)))
    if links:
        faults.append(Fault("download", "an archive may not hold links or devices (unpack it yourself)", shown(links)))
    if faults:
        raise InputError(faults, source=str(archive))
    return [
        DownloadedFile(path, member.size, archive, packed=True)
        for path, member in members.items()
        if member.is_file and _wanted(path) and not any(map(is_hidden, PurePosixPath(path).parts))
    ]


def read_file(file: DownloadedFile, at_most: int = _LARGEST_TEXT) -> bytes | bytearray:
    """All of one file's bytes; InputError if it is too large, or its archive is broken."""
    if file.size > at_most:
        raise InputError([Fault("", f"must have at most {at_most:,} bytes", file.size)], source=file.path)
    if not file.packed:
        return read_regular(file.place / file.path, at_most)
    with _readable(file.place):
        content = bytearray()  # bytes in pieces, to be joined, would take twice the memory
        for _, unpacked in _contents(file.place, {file.path}):
            while piece := unpacked.read(_AT_ONCE):
                content += piece
        return content


def copy_files(wanted: Mapping[str, DownloadedFile], target: Path, link: bool) -> Iterator[str]:
    """Write the files; yields the path of each when it is written.

    Args:
        wanted: path below the target -> source. Several paths may have the same source.
        target: a folder that only this call writes to. The folders in it are made.
        link: make hard links to unpacked files instead of copies.

    Raises:
        InputError: a broken archive, or a file that cannot be written.
    """
    try:
        for folder in sorted({str(PurePosixPath(path).parent) for path in wanted}):
            (target / folder).mkdir(parents=True, exist_ok=True)
        yield from _copy_unpacked(wanted, target, link)
        yield from _copy_packed(wanted, target)
    except OSError as error:
        rule = f"must be writable and its download readable ({error.strerror or error})"
        raise InputError([Fault("root", rule, error.filename2 or error.filename)], source=str(target)) from error


def _copy_unpacked(wanted: Mapping[str, DownloadedFile], target: Path, link: bool) -> Iterator[str]:
    def place(path: str) -> str:
        source = wanted[path].place / wanted[path].path
        if link:
            (target / path).hardlink_to(source)
        else:
            shutil.copyfile(source, target / path)
        return path

    return for_each(place, [path for path, file in wanted.items() if not file.packed])


def _copy_packed(wanted: Mapping[str, DownloadedFile], target: Path) -> Iterator[str]:
    by_archive: dict[Path, dict[str, list[str]]] = {}
    for path, file in wanted.items():
        if file.packed:
            by_archive.setdefault(file.place, {}).setdefault(file.path, []).append(path)
    for archive, members in by_archive.items():
        with _readable(archive):
            for member, content in _contents(archive, set(members)):
                first, *others = members[member]
                with (target / first).open("wb") as output:
                    shutil.copyfileobj(content, output)
                for other in others:
                    shutil.copyfile(target / first, target / other)
                yield from members[member]


@dataclass(frozen=True, slots=True)
class _Member:
    path: str
    size: int
    is_file: bool
    is_link: bool  # or a device: neither a file nor a folder


def _members(archive: Path) -> Iterator[_Member]:
    if _is_zip(archive):
        with open_regular(archive) as packed, zipfile.ZipFile(packed) as unzipped:
            for entry in unzipped.infolist():
                is_link = stat.S_ISLNK(entry.external_attr >> 16)
                yield _Member(_plain(entry.filename), entry.file_size, not entry.is_dir(), is_link)
    else:
        with _open_tar(archive) as untarred:
            for member in _in_order(untarred):
                is_link = not member.isreg() and not member.isdir()
                yield _Member(_plain(member.name), member.size, member.isreg(), is_link)


def _contents(archive: Path, wanted: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """The members in `wanted`, each once, in the archive's order. Each must be read before the next is requested."""
    left = set(wanted)
    if archive.suffix == PARQUET_SUFFIX:
        from gga_sweep.datasets.parquet import images

        yield from images(archive, wanted)
    elif _is_zip(archive):
        with open_regular(archive) as packed, zipfile.ZipFile(packed) as unzipped:
            for entry in unzipped.infolist():
                if (path := _plain(entry.filename)) in left:
                    left.remove(path)
                    with unzipped.open(entry) as content:
                        yield path, content
    else:
        with _open_tar(archive) as untarred:
            for member in _in_order(untarred):
                path = _plain(member.name)
                if path in left and (unpacked := untarred.extractfile(member)) is not None:
                    left.remove(path)
                    yield path, unpacked


@contextlib.contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a reader may raise anything on a broken archive
        if isinstance(error, GGASweepError) or getattr(error, "errno", None) is not None:  # or the disk's own
            raise
        fault = Fault("download", f"archive must be readable ({type(error).__name__}: {error})", archive.name)
        raise InputError([fault], source=str(archive)) from error


def _is_zip(archive: Path) -> bool:
    return archive.name.lower().endswith(".zip")


class _SmallReads:
    """A file of which no more than `_AT_ONCE` is read at once: tarfile reads a header whole, however large it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if size > _AT_ONCE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextlib.contextmanager
def _open_tar(archive: Path) -> Iterator[tarfile.TarFile]:
    with open_regular(archive) as packed, contextlib.ExitStack() as stack:
        unpacked: Any = packed if archive.name.lower().endswith(".tar") else stack.enter_context(gzip.open(packed))
        yield stack.enter_context(tarfile.open(fileobj=_SmallReads(unpacked), mode="r:"))


def _in_order(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Its members. A negative size would lead back to an earlier member, and so to an endless loop."""
    end = 0
    for member in archive:
        if member.offset_data <= end or member.size < 0:
            raise tarfile.ReadError(f"member {member.name!r} lies where another does")
        end = member.offset_data
        yield member


def _plain(name: str) -> str:
    return name[2:] if name.startswith("./") else name


def _wanted(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return (suffix in IMAGE_SUFFIXES or suffix in _TEXT_SUFFIXES) and not is_hidden(PurePosixPath(name).name)
