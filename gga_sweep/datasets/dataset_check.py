"""Compare a dataset on disk with the published one, and decode each of its images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from gga_sweep.datasets.catalogue import Benchmark
from gga_sweep.datasets.files import Progress, for_each, is_folder, shown
from gga_sweep.datasets.image_cache import image_bytes, photograph, why_unreadable
from gga_sweep.datasets.image_folder import ImageTree, domain_folders, folder_faults, image_paths, scan_folders
from gga_sweep.errors import Fault, GGASweepError, InputError


@dataclass(frozen=True)
class DomainCount:
    """Images of one domain.

    Args:
        name: the domain's folder.
        found: how many there are; None if the folder is missing.
        published: how many there should be; None where nothing is published, or for a folder that is no domain.
    """

    name: str
    found: int | None
    published: int | None


@dataclass(frozen=True)
class DatasetCheck:
    """The result of a check.

    Args:
        name: the dataset's.
        domains: the benchmark's own, missing ones included, in dataset order; then the folders that are none of its
            domains and are not read. Without a benchmark: those found.
        images: how many were found in the domains that are read.
        classes: names of all class folders in the domains that are read, sorted.
        unloadable: faults that prevent loading the tree.
        differences: what differs from the published dataset without preventing loading.
        unreadable: a fault for each image that does not open.
        remarks: caveats for numbers on this dataset.
        variant: the known size other than the published one that was recognised, in words.
    """

    name: str
    domains: tuple[DomainCount, ...]
    images: int
    classes: tuple[str, ...]
    unloadable: tuple[Fault, ...] = ()
    differences: tuple[Fault, ...] = ()
    unreadable: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()
    variant: str | None = None

    @property
    def loadable(self) -> bool:
        """Whether the dataset can be trained on, as published or not."""
        return not self.unloadable and not self.unreadable

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything wrong or other than published; empty for the published dataset and for a known variant."""
        return (*self.unloadable, *self.differences, *self.unreadable)

    @property
    def in_words(self) -> str:
        """The outcome in one line: `PACS: 7 classes, 9,991 images, as published`."""
        counted = f"{self.name}: {len(self.classes)} classes, {self.images:,} images"
        if self.faults:
            return f"{counted}, {len(self.faults)} {'thing differs' if len(self.faults) == 1 else 'things differ'}"
        if self.variant is not None:
            return f"{counted}, a known variant: {self.variant}"
        return f"{counted}, as published" if any(domain.published for domain in self.domains) else counted


def check_tree(name: str, root: Path, benchmark: Benchmark | None, progress: Progress | None = None) -> DatasetCheck:
    """Compare a dataset of photographs with the benchmark it should be, and open every image.

    Args:
        name: the dataset's.
        root: of the tree.
        benchmark: None for an unpublished tree: then only its domains are compared with each other.
        progress: called after each opened image.

    Raises:
        InputError: the root is not a folder, folders in it cannot be listed, names in it are not text, or two folders
            stand for one domain.
    """
    if benchmark is not None and benchmark.list_images is not None:
        return _check_listed(name, root, benchmark, benchmark.list_images, progress)
    scan = scan_folders(root)
    places = domain_folders(scan.folders, {} if benchmark is None else benchmark.aliases)
    present = {domain: scan.folders[place] for domain, place in places.items()}
    found = {domain: sum(map(len, classes.values())) for domain, classes in present.items()}
    sizes: Mapping[str, int | None] = dict.fromkeys(present) if benchmark is None else benchmark.domain_sizes
    folders = {domain: present[domain] for domain in sizes if domain in present}
    classes = tuple(sorted({name for domain in folders.values() for name in domain}))
    variant, remarks = (None, ()) if benchmark is None else _known_variant(found, benchmark)
    return DatasetCheck(
        name,
        domains=(
            *(DomainCount(domain, found.get(domain), size) for domain, size in sizes.items()),
            *(DomainCount(domain, found[domain], None) for domain in present if domain not in sizes),
        ),
        images=sum(found[domain] for domain in folders),
        classes=classes,
        unloadable=tuple(
            folder_faults(folders)
            if benchmark is None
            else folder_faults(folders, tuple(sizes), benchmark.n_classes, benchmark.every_class)
        ),
        differences=() if benchmark is None else tuple(_differences(benchmark, found, set(classes), variant)),
        unreadable=tuple(
            _unreadable(root, tuple(image_paths({places[domain]: folders[domain] for domain in folders})), progress)
        ),
        remarks=(*remarks, *_not_read(scan.left_out)),
        variant=variant,
    )


def _check_listed(
    name: str, root: Path, benchmark: Benchmark, list_images: Callable[[Path], ImageTree], progress: Progress | None
) -> DatasetCheck:
    """The check of a benchmark whose images are listed in a way of its own."""
    try:
        tree = list_images(root)
    except InputError as error:
        if not is_folder(root):
            raise
        missing = tuple(DomainCount(domain, None, size) for domain, size in benchmark.domain_sizes.items())
        return DatasetCheck(name, missing, 0, (), unloadable=error.faults)
    found = tree.domain_sizes
    return DatasetCheck(
        name,
        domains=tuple(DomainCount(domain, found[domain], size) for domain, size in benchmark.domain_sizes.items()),
        images=sum(found.values()),
        classes=tree.classes,
        differences=tuple(_differences(benchmark, found, set(tree.classes), None)),
        unreadable=tuple(_unreadable(tree.root, list(chain.from_iterable(tree.paths.values())), progress)),
    )


def size_differences(published: Mapping[str, int], found: Mapping[str, int]) -> Iterator[Fault]:
    """A fault for each domain that is there with another number of images than published."""
    for domain, size in published.items():
        if found.get(domain, size) != size:
            yield Fault("dataset.root", f"domain {domain!r} was published with {size} images", found[domain])


def _differences(
    benchmark: Benchmark, found: Mapping[str, int], classes: Set[str], variant: str | None
) -> Iterator[Fault]:
    sizes = benchmark.domain_sizes
    for name in found:
        if name not in sizes:
            yield Fault("dataset.root", f"folder is no domain of {benchmark.name} and is not read", name, tuple(sizes))
    if benchmark.images is not None and (total := sum(found.get(domain, 0) for domain in sizes)) != benchmark.images:
        yield Fault("dataset.root", f"{benchmark.images} images were published in all domains together", total)
    if variant is None:
        yield from size_differences(benchmark.published_sizes, found)
    known = set(benchmark.classes or classes)
    if missing := sorted(known - classes):
        yield Fault("dataset.root", f"must have the class folders of {benchmark.name}, no domain has {missing}")
    if unknown := sorted(classes - known):
        yield Fault("dataset.root", f"class folders are none of {benchmark.name}", unknown)


def _known_variant(found: Mapping[str, int], benchmark: Benchmark) -> tuple[str | None, tuple[str, ...]]:
    """The known variant that a tree is, and remarks on it; (None, ()) if it is as published, or unknown."""
    counts = {domain: found.get(domain, 0) for domain in benchmark.domain_sizes}
    if benchmark.images is not None:
        remark = f"{benchmark.name}: {benchmark.images:,} images are published in all, but not those of each domain"
        return None, (remark,)
    if counts == dict(benchmark.domain_sizes):
        return None, ()
    for variant in benchmark.variants:
        total = f"{benchmark.name} here: {variant.remark}"
        if variant.domain_sizes is None:
            if sum(counts.values()) == variant.images:
                return variant.remark, (total,)
            continue
        other = [domain for domain, count in counts.items() if count != benchmark.domain_sizes[domain]]
        if all(counts[domain] == variant.domain_sizes[domain] for domain in other):
            return variant.remark, (f"{total} (domains: {', '.join(other)})",)
    return None, ()


def _not_read(left_out: Mapping[str, int]) -> Iterator[str]:
    reasons = [f"{count:,} {why}" for why, count in sorted(left_out.items(), key=lambda item: -item[1]) if count]
    if reasons:
        yield f"Files and folders that are not read: {', '.join(shown(reasons))}"


def _unreadable(root: Path, paths: Sequence[str], progress: Progress | None) -> Iterator[Fault]:
    def reason(path: str) -> str | None:
        try:
            photograph(image_bytes(root / path))
        except GGASweepError:
            raise
        except Exception as error:  # a decoder may raise anything on a broken file
            return why_unreadable(error)
        return None

    for done, (path, why) in enumerate(zip(paths, for_each(reason, paths), strict=True), start=1):
        if why is not None:
            yield Fault("dataset.root", f"image must open ({why})", path)
        if progress is not None:
            progress("opening", done, len(paths))
