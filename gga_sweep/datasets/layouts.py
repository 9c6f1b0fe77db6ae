"""Find the images of a benchmark in its download: `domain/class/image` -> the file.

Layouts: domain folders at any depth (PACS: `kfold/`, OfficeHome: `OfficeHomeDataset_10072016/`, VLCS: `VLCS/`,
DomainNet: six folders of one archive each), photographs with annotations (TerraIncognita; facebookresearch/DomainBed,
domainbed/scripts/download.py), images with a table of metadata (WILDS), and rows of parquet files (any of them).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gga_sweep.datasets.catalogue import AnnotatedPhotographs, Benchmark
from gga_sweep.datasets.downloads import DownloadedFile
from gga_sweep.datasets.files import is_plain, shown, unfit_names
from gga_sweep.datasets.image_folder import IMAGE_SUFFIXES, Folders, folder_faults
from gga_sweep.datasets.parquet import ParquetColumns, list_rows
from gga_sweep.datasets.wilds_tables import tabled_images
from gga_sweep.errors import Fault, InputError
from gga_sweep.input_files import read_regular

if TYPE_CHECKING:  # it needs msgspec, and training needs none of it
    from gga_sweep.datasets.annotations import Annotations

Layout = Mapping[str, DownloadedFile]
"""domain/class/image -> the file of the download."""

_LARGEST_LIST = 2**26  # bytes of a list of duplicates: that of DomainNet has a hundredth of it


def find_layout(benchmark: Benchmark, files: Sequence[DownloadedFile]) -> Layout:
    """A benchmark's images in a download.

    Raises:
        InputError: domains that are missing or lie in two places, classes that differ from domain to domain or are too
            few, annotations or tables that cannot be read or name images that are not there.
    """
    if benchmark.annotated is not None and (annotations := _annotations(benchmark.annotated, files)):
        layout = _annotated_photographs(benchmark, benchmark.annotated, files, annotations)
    elif benchmark.table is not None and (tables := benchmark.table.among(files)):
        layout = tabled_images(benchmark.table, tables, files, benchmark.classes or ())
    else:
        layout = _domain_folders(benchmark, files)
    if unfit := unfit_names("download", [path for path in layout if not all(map(is_plain, path.split("/")))]):
        raise InputError(unfit)
    _require_no_faults(layout, benchmark)
    return layout


def find_rows(benchmark: Benchmark | None, files: Sequence[Path], columns: ParquetColumns) -> Layout:
    """The images in parquet files; for a benchmark of None, of whichever domains and classes they have.

    Raises:
        InputError: files that cannot be read or lack a column, values that are no names of domains or classes, domains
            other than the benchmark's, classes that differ from domain to domain or are too few.
    """
    layout = list_rows(files, columns)
    known = None if benchmark is None else tuple(benchmark.domain_sizes)
    if known is not None and (unknown := sorted({path.split("/")[0] for path in layout} - {*known})):
        raise InputError([Fault(f"column {columns.domain}", "must hold domains of the benchmark", unknown, known)])
    _require_no_faults(layout, benchmark)
    return layout


def _require_no_faults(layout: Layout, benchmark: Benchmark | None) -> None:
    folders = _folders(layout)
    if benchmark is None:
        faults = folder_faults(folders)
    else:
        known = tuple(benchmark.domain_sizes)
        faults = folder_faults(folders, known, benchmark.n_classes, benchmark.every_class)
    if faults:
        raise InputError([Fault("download", fault.rule, fault.got) for fault in faults])


def read_duplicates(file: Path, domains: Iterable[str]) -> frozenset[str]:
    """The images listed in a file, one `domain/class/image` a line, as in DomainBed's list for DomainNet.

    Raises:
        InputError: the file cannot be read, or has lines that name no image of the domains.
    """
    try:
        lines = read_regular(file, _LARGEST_LIST).decode().splitlines()
    except (OSError, ValueError) as error:
        raise InputError([Fault("duplicates", f"must be a text file ({error})", str(file))]) from error
    listed = {line.strip(): number for number, line in enumerate(lines, start=1) if line.strip()}
    known = tuple(domains)
    wrong = [
        Fault(f"line {number}", "must be domain/class/image", name, known)
        for name, number in listed.items()
        if name.count("/") != 2 or name.split("/")[0] not in known
    ]
    if wrong:
        raise InputError(wrong, source=str(file))
    return frozenset(listed)


def _domain_folders(benchmark: Benchmark, files: Sequence[DownloadedFile]) -> Layout:
    """Images that lie as any/folders/domain/class/image."""
    above: dict[str, set[str]] = {domain: set() for domain in benchmark.domain_sizes}
    names: dict[tuple[str, str], set[str]] = {}
    placed: dict[tuple[str, str], dict[str, DownloadedFile]] = {}
    for file in files:
        parts = file.path.split("/")
        if len(parts) < 3 or PurePosixPath(file.path).suffix.lower() not in IMAGE_SUFFIXES:
            continue
        *outer, place, name, image = parts
        domain = benchmark.aliases.get(place, place)
        if domain in above:
            folder = "/".join(outer)
            above[domain].add(folder)
            names.setdefault((domain, folder), set()).add(place)
            placed.setdefault((domain, folder), {})[f"{domain}/{name}/{image}"] = file
    together = set.intersection(*above.values())
    # another dataset in the download may have a domain of the same name: prefer the folder that holds all domains
    chosen = {domain: together if len(together) == 1 else folders for domain, folders in above.items()}
    faults = []
    if missing := [domain for domain, folders in chosen.items() if not folders]:
        there = Counter(file.path.split("/")[-3] for file in files if file.path.count("/") >= 2)
        rule = f"must hold a folder domain/class/image for each domain, lacks {missing}"
        faults.append(Fault("download", rule, shown(sorted(there)), tuple(benchmark.domain_sizes)))
    for domain, folders in chosen.items():
        for places in (folders, *(names[domain, folder] for folder in folders)):
            if len(places) > 1:
                rule = f"domain {domain!r} must lie in one place (give the folder or archive that is meant)"
                faults.append(Fault("download", rule, sorted(places)))
    if faults:
        raise InputError(faults)
    return {path: file for domain, (folder,) in chosen.items() for path, file in placed[domain, folder].items()}


def _annotations(annotated: AnnotatedPhotographs, files: Sequence[DownloadedFile]) -> list[DownloadedFile]:
    return [file for file in files if any(PurePosixPath(file.path).match(name) for name in annotated.annotations)]


def _annotated_photographs(
    benchmark: Benchmark,
    annotated: AnnotatedPhotographs,
    files: Sequence[DownloadedFile],
    annotations: Sequence[DownloadedFile],
) -> Layout:
    """A photograph of a domain's location goes to each class that it is annotated with."""
    if len(annotations) > 1:
        rule = "must hold one file of annotations (move the others away)"
        raise InputError([Fault("download", rule, [file.path for file in annotations])])
    from gga_sweep.datasets.annotations import read_annotations

    content = read_annotations(annotations[0])
    photographs = {
        PurePosixPath(file.path).name: file
        for file in files
        if PurePosixPath(file.path).parent.name == annotated.photographs
    }
    if not photographs:
        raise InputError([Fault("download", f"must hold the photographs in {annotated.photographs}/")])
    wanted = _annotated_paths(content, benchmark, annotated, annotations[0].path)
    if missing := [path for path in wanted if path.split("/")[-1] not in photographs]:
        rule = f"must hold every annotated photograph, lacks {len(missing)} of {len(wanted)}"
        raise InputError([Fault("download", rule, shown(missing))])
    return {path: photographs[path.split("/")[-1]] for path in wanted}


def _annotated_paths(
    content: Annotations, benchmark: Benchmark, annotated: AnnotatedPhotographs, source: str
) -> list[str]:
    """location_38/bobcat/photograph.jpg and so on, in the order of the annotations, each once."""
    classes = {item.id: item.name for item in content.categories}
    images = {item.id: item for item in content.images}
    if unknown := sorted({str(item.category_id) for item in content.annotations if item.category_id not in classes}):
        raise InputError([Fault("annotations", "category_id must be of a category", shown(unknown))], source=source)
    pairs = [(images.get(item.image_id), classes[item.category_id]) for item in content.annotations]
    wanted = [
        (domain, name, image.file_name)
        for image, name in pairs
        if image is not None
        and (domain := annotated.domain.format(image.location)) in benchmark.domain_sizes
        and name in (benchmark.classes or ())
    ]
    if strange := sorted({file for _, _, file in wanted if PurePosixPath(file).name != file}):
        raise InputError([Fault("images", "file_name must be a plain name", shown(strange))], source=source)
    return list(dict.fromkeys("/".join(parts) for parts in wanted))


def _folders(layout: Layout) -> Folders:
    folders: dict[str, dict[str, list[str]]] = {}
    for path in layout:
        domain, name, file = path.split("/")
        folders.setdefault(domain, {}).setdefault(name, []).append(file)
    return {domain: {name: tuple(files) for name, files in classes.items()} for domain, classes in folders.items()}
