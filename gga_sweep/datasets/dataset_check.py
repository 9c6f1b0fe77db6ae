"""Compare a dataset on disk with the published one, and open each of its images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gga_sweep.datasets.catalogue import Benchmark
from gga_sweep.datasets.files import Progress, for_each
from gga_sweep.datasets.image_cache import image_bytes, photograph, why_unreadable
from gga_sweep.datasets.image_folder import Folders, folder_faults, image_paths, scan_folders
from gga_sweep.errors import Fault


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
class UnreadableImage:
    """An image that does not open.

    Args:
        path: relative to the root, with forward slashes.
        reason: the decoder's error.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class DatasetCheck:
    """What a check found.

    Args:
        name: the dataset's.
        domains: the benchmark's own, missing ones included, in dataset order; then the folders that are none of its
            domains (`extra_domains`) and are not read. Without a benchmark: those found.
        classes: names of all class folders in the domains that are read, sorted.
        lacking_classes: domain -> classes that other domains have and it lacks; only domains that lack some.
        missing_classes, unknown_classes: the benchmark's that no domain has, and the reverse; empty if the benchmark's
            class names are not listed.
        unloadable: faults that prevent loading the tree.
        unreadable: the images that do not open.
        remarks: what a reader of numbers on this dataset must know.
        variant: the known size other than the published one that was recognised, in words.
    """

    name: str
    domains: tuple[DomainCount, ...]
    classes: tuple[str, ...]
    lacking_classes: Mapping[str, tuple[str, ...]]
    missing_classes: tuple[str, ...]
    unknown_classes: tuple[str, ...]
    unloadable: tuple[Fault, ...]
    unreadable: tuple[UnreadableImage, ...]
    remarks: tuple[str, ...]
    variant: str | None

    @property
    def images(self) -> int:
        """How many images were found in the domains that are read."""
        return sum(domain.found or 0 for domain in self.domains if domain.name not in self.extra_domains)

    @property
    def missing_domains(self) -> tuple[str, ...]:
        return tuple(domain.name for domain in self.domains if domain.found is None)

    @property
    def extra_domains(self) -> tuple[str, ...]:
        """Folders that are no domain of the benchmark."""
        if all(domain.published is None for domain in self.domains):  # nothing is published: all are its domains
            return ()
        return tuple(domain.name for domain in self.domains if domain.published is None)

    @property
    def loadable(self) -> bool:
        """Whether the dataset can be trained on, as published or not."""
        return not self.unloadable and not self.unreadable

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything wrong or other than published; empty for the published dataset and for a known variant."""
        return (*self.unloadable, *self._differences(), *map(_unreadable_fault, self.unreadable))

    @property
    def in_words(self) -> str:
        """The outcome in one line: `PACS: 7 classes, 9,991 images, as published`."""
        counted = f"{self.name}: {len(self.classes)} classes, {self.images:,} images"
        if self.faults:
            return f"{counted}, {len(self.faults)} {'thing differs' if len(self.faults) == 1 else 'things differ'}"
        if self.variant is not None:
            return f"{counted}, a known variant: {self.variant}"
        return f"{counted}, as published" if any(domain.published for domain in self.domains) else counted

    def _differences(self) -> Iterator[Fault]:
        """What differs from the published dataset without preventing loading."""
        known = tuple(domain.name for domain in self.domains if domain.published is not None)
        for name in self.extra_domains:
            yield Fault("dataset.root", f"folder is no domain of {self.name} and is not read", name, known)
        if self.variant is None:
            for domain in self.domains:
                if None not in (domain.found, domain.published) and domain.found != domain.published:
                    rule = f"domain {domain.name!r} was published with {domain.published} images"
                    yield Fault("dataset.root", rule, domain.found)
        if self.missing_classes:
            rule = f"must have the class folders of {self.name}, no domain has {list(self.missing_classes)}"
            yield Fault("dataset.root", rule)
        if self.unknown_classes:
            yield Fault("dataset.root", f"class folders are none of {self.name}", list(self.unknown_classes))


def check_tree(name: str, root: Path, benchmark: Benchmark | None, progress: Progress | None = None) -> DatasetCheck:
    """Compare a tree `root/domain/class/image` with the benchmark it should be, and open every image.

    Args:
        name: the dataset's.
        root: of the tree.
        benchmark: None for an unpublished tree: then only its domains are compared with each other.
        progress: called after each opened image.

    Raises:
        InputError: the root is not a folder, folders in it cannot be listed, or names in it are not text.
    """
    present = scan_folders(root)
    found = {domain: sum(map(len, classes.values())) for domain, classes in present.items()}
    sizes: Mapping[str, int | None] = dict.fromkeys(present) if benchmark is None else benchmark.domain_sizes
    folders = {domain: present[domain] for domain in sizes if domain in present}
    classes = tuple(sorted({name for domain in folders.values() for name in domain}))
    known = set(classes if benchmark is None else benchmark.classes or classes)
    variant, remarks = (None, ()) if benchmark is None else _known_variant(found, benchmark)
    unloadable = (
        folder_faults(folders)
        if benchmark is None
        else folder_faults(folders, tuple(benchmark.domain_sizes), benchmark.n_classes)
    )
    return DatasetCheck(
        name,
        domains=(
            *(DomainCount(domain, found.get(domain), size) for domain, size in sizes.items()),
            *(DomainCount(domain, found[domain], None) for domain in present if domain not in sizes),
        ),
        classes=classes,
        lacking_classes=_lacking(folders, classes),
        missing_classes=tuple(sorted(known - set(classes))),
        unknown_classes=tuple(sorted(set(classes) - known)),
        unloadable=tuple(unloadable),
        unreadable=tuple(_unreadable(root, tuple(image_paths(folders)), progress)),
        remarks=remarks,
        variant=variant,
    )


def check_of_tensors(name: str, domain_sizes: Mapping[str, int], classes: Sequence[str]) -> DatasetCheck:
    """The check of a loaded dataset that is no tree of images, with which nothing can be compared."""
    domains = tuple(DomainCount(domain, size, None) for domain, size in domain_sizes.items())
    return DatasetCheck(name, domains, tuple(classes), {}, (), (), (), (), (), None)


def _lacking(folders: Folders, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    lacking = {domain: tuple(name for name in classes if name not in found) for domain, found in folders.items()}
    return {domain: names for domain, names in lacking.items() if names}


def _known_variant(found: Mapping[str, int], benchmark: Benchmark) -> tuple[str | None, tuple[str, ...]]:
    """The known variant that a tree is, and remarks on it; (None, ()) if it is as published, or unknown."""
    counts = {domain: found.get(domain, 0) for domain in benchmark.domain_sizes}
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


def _unreadable(root: Path, paths: Sequence[str], progress: Progress | None) -> Iterator[UnreadableImage]:
    def reason(path: str) -> str | None:
        try:
            photograph(image_bytes(root / path))
        except Exception as error:  # a decoder may raise anything on a broken file
            return why_unreadable(error)
        return None

    for done, (path, outcome) in enumerate(zip(paths, for_each(reason, paths), strict=True), start=1):
        if outcome is not None:
            yield UnreadableImage(path, outcome)
        if progress is not None:
            progress("opening", done, len(paths))


def _unreadable_fault(image: UnreadableImage) -> Fault:
    return Fault("dataset.root", f"image must open ({image.reason})", image.path)
