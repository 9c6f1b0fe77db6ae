"""Make a tree `domain/class/image` from a benchmark's download or from parquet files. Nothing is downloaded."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gga_sweep.datasets.catalogue import BENCHMARKS
from gga_sweep.datasets.dataset_check import DatasetCheck, check_tree
from gga_sweep.datasets.downloads import (
    ARCHIVE_SUFFIXES,
    PARQUET_SUFFIX,
    DownloadedFile,
    archives_in,
    copy_files,
    list_archive,
    list_folder,
)
from gga_sweep.datasets.files import Progress, existing, expanded, free_bytes, shown
from gga_sweep.datasets.layouts import Layout, find_layout, find_rows, read_duplicates
from gga_sweep.datasets.parquet import ParquetColumns, parquet_files
from gga_sweep.datasets.registry import IMAGE_FOLDER
from gga_sweep.errors import Fault, InputError

_BLOCK = 4096  # bytes: what a file takes on disk is a multiple of it


@dataclass(frozen=True)
class PreparedDataset:
    """A tree that was written.

    Args:
        root: its folder.
        copied: images written anew.
        linked: images that share their bytes with the download.
        duplicates: listed images that were left out.
        unknown_duplicates: listed images that the download does not hold.
        check: what the tree holds, compared with the published dataset.
    """

    root: Path
    copied: int
    linked: int
    duplicates: int
    unknown_duplicates: int
    check: DatasetCheck


def prepare_dataset(
    name: str,
    download: Path,
    root: Path,
    *,
    link: bool = False,
    duplicates: Path | None = None,
    columns: ParquetColumns | None = None,
    progress: Progress | None = None,
) -> PreparedDataset:
    """Make a tree from a benchmark's download or from parquet files, then check it.

    The tree is created completely or not at all. Unpacked files of the download are used first; archives directly in it
    are opened only if those do not suffice. The download is not changed.

    Args:
        name: of a benchmark; or ImageFolder, for parquet files of other domains and classes.
        download: a folder, an archive, or a parquet file. Of a folder that holds parquet files, these are read.
        root: the folder to be made; it may exist if it is empty.
        link: make hard links to unpacked images instead of copies; only within one file system. Images in archives are
            written in any case, and so are those in parquet files.
        duplicates: a file that lists images to leave out, one `domain/class/image` a line (DomainNet).
        columns: of the parquet files; by default image, domain and label.
        progress: called after each listed archive, each written image and each opened image.

    Raises:
        InputError: an unknown benchmark, a download that is not there or does not hold it (named: what is missing), a
            root that is not empty, archives that are broken or unsafe, parquet files without a needed column (named:
            the columns that exist), too little room on the disk, links across file systems.
    """
    download, root = expanded(download, "download"), expanded(root, "root").absolute()
    duplicates = None if duplicates is None else expanded(duplicates, "duplicates")
    _check_paths(name, download=download, root=root)
    tables = parquet_files(download)
    _check_request(name, download, root, link, duplicates, columns, tables)
    benchmark = BENCHMARKS.get(name)
    listed = frozenset() if duplicates is None else read_duplicates(duplicates, BENCHMARKS[name].domain_sizes)
    found = find_rows(benchmark, tables, columns or ParquetColumns()) if tables else _find(name, download, progress)
    layout = {path: file for path, file in found.items() if path not in listed}
    left_out = len(found) - len(layout)
    linked = sum(not file.packed for file in layout.values()) if link else 0
    _check_room(layout, root, link)
    with _whole_tree(root) as draft:
        for done, _ in enumerate(copy_files(layout, draft, link), start=1):
            _report(progress, "linking" if done <= linked else "copying", done, len(layout))
    check = check_tree(name, root, benchmark, progress)
    return PreparedDataset(root, len(layout) - linked, linked, left_out, len(listed) - left_out, check)


def _check_paths(name: str, **paths: Path) -> None:
    """Raise InputError for paths that are invalid or cannot be accessed."""
    faults = []
    for field, path in paths.items():
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            faults.append(Fault(field, f"must be a path that can be used ({error})", str(path)))
    if faults:
        raise InputError(faults, source=f"prepare {name}")


def _check_request(
    name: str,
    download: Path,
    root: Path,
    link: bool,
    duplicates: Path | None,
    columns: ParquetColumns | None,
    tables: Sequence[Path],
) -> None:
    faults = []
    trees = tuple(benchmark.name for benchmark in BENCHMARKS.values() if benchmark.list_images is None)
    known = (*trees, *([IMAGE_FOLDER] if tables else []))
    if name in BENCHMARKS and name not in known:
        rule = f"is read as its download is unpacked: give {BENCHMARKS[name].needs} as dataset.root"
        faults.append(Fault("name", rule, name, known))
    elif name not in known:
        faults.append(Fault("name", "must be a benchmark", name, known))
    if columns is not None and not tables:
        faults.append(Fault("columns", "are of parquet files, and the download holds none", str(download)))
    if not (tables or download.is_dir() or (download.is_file() and download.name.lower().endswith(ARCHIVE_SUFFIXES))):
        allowed = (*ARCHIVE_SUFFIXES, PARQUET_SUFFIX)
        faults.append(Fault("download", "must be a folder, an archive or a parquet file", str(download), allowed))
    elif link and download.stat().st_dev != existing(root).stat().st_dev:
        faults.append(Fault("link", "must stay within one file system (copy instead)", f"{download} -> {root}"))
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        faults.append(Fault("root", "must not exist yet, or be an empty folder", str(root)))
    if duplicates is not None and not (name in BENCHMARKS and BENCHMARKS[name].has_duplicates):
        listed = ", ".join(benchmark.name for benchmark in BENCHMARKS.values() if benchmark.has_duplicates)
        faults.append(Fault("duplicates", f"are left out of {listed} only", str(duplicates)))
    if faults:
        raise InputError(faults, source=f"prepare {name}")


def _find(name: str, download: Path, progress: Progress | None) -> Layout:
    """The images in the download; archives are opened only if the unpacked files do not suffice."""
    try:
        unpacked = list_folder(download) if download.is_dir() else []
        archives = archives_in(download) if download.is_dir() else [download]
        if archives:
            with contextlib.suppress(InputError):
                return find_layout(BENCHMARKS[name], unpacked)
        return find_layout(BENCHMARKS[name], _with_archives(unpacked, archives, progress))
    except InputError as error:
        raise InputError(error.faults, source=error.source or str(download)) from error
    except OSError as error:
        rule = f"must be readable ({error.strerror or error})"
        raise InputError([Fault("download", rule, str(error.filename or download))]) from error


def _with_archives(
    unpacked: list[DownloadedFile], archives: list[Path], progress: Progress | None
) -> list[DownloadedFile]:
    files = {file.path: file for file in unpacked}
    faults: list[Fault] = []
    for done, archive in enumerate(archives, start=1):
        found = list_archive(archive)
        if twice := [file.path for file in found if file.path in files and files[file.path].packed]:
            rule = f"archives must not hold the same files, {archive.name} repeats another's"
            faults.append(Fault("download", rule, shown(twice)))
        files = {file.path: file for file in found} | files  # unpacked files come first
        _report(progress, "listing", done, len(archives))
    if faults:
        raise InputError(faults)
    return list(files.values())


def _check_room(layout: Layout, root: Path, link: bool) -> None:
    written = [file.size for file in layout.values() if file.packed or not link]
    needed = sum(-(-size // _BLOCK) * _BLOCK for size in written)
    free = free_bytes(root)
    if needed > free:
        rule = f"must lie where {needed:,} bytes are free"
        raise InputError([Fault("root", rule, f"{free:,} bytes at {root}")])


@contextlib.contextmanager
def _whole_tree(root: Path) -> Iterator[Path]:
    """A hidden folder beside the root that replaces it if the block succeeds, and is removed otherwise."""
    draft = root.with_name(f".{root.name}.{uuid.uuid4().hex}")
    try:
        try:
            draft.mkdir(parents=True)
        except OSError as error:
            raise InputError([Fault("root", f"must be writable ({error.strerror})", str(root))]) from error
        yield draft
        try:
            draft.replace(root)  # fails if the folder is not empty
        except OSError as error:
            raise InputError([Fault("root", f"must stay empty meanwhile ({error.strerror})", str(root))]) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _report(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)
