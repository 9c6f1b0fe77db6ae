"""Datasets that lie as a tree of photographs, `root/domain/class/image`."""

from __future__ import annotations

import itertools
import os
import statistics
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from gga_sweep.datasets.dataset import Dataset, Domain
from gga_sweep.datasets.files import Progress, is_folder, is_hidden, is_plain, shown, unfit_names
from gga_sweep.datasets.image_cache import (
    CHANGED,
    OnDecoded,
    decode,
    decoded_file,
    image_bytes,
    images_in_memory,
    images_on_disk,
    is_decoded,
    require_private,
    require_room,
)
from gga_sweep.datasets.manifest import Manifest, forget, read_manifest
from gga_sweep.errors import Fault, InputError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Those that torchvision's ImageFolder reads, and .gif."""

DEFAULT_IMAGE_SIZE = 224

_TIMED_PHOTOGRAPHS = 32
_NO_ALIASES: Mapping[str, str] = MappingProxyType({})

Folders = Mapping[str, Mapping[str, tuple[str, ...]]]
"""domain -> class -> image files, as found, also in folders below the class; all sorted."""


@dataclass(frozen=True)
class Scan:
    """A listed tree, not checked yet.

    Args:
        folders: what is read.
        left_out: how many files and folders are not read, by reason.
    """

    folders: Folders
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class ImageTree:
    """A listed dataset of photographs, without faults.

    Args:
        root: its folder.
        classes: their names, in label order.
        paths: by domain, its images relative to the root, in the order that splits refer to.
        labels: by domain, the class index of each of its images.
    """

    root: Path
    classes: tuple[str, ...]
    paths: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, tuple[int, ...]]

    @property
    def domain_sizes(self) -> dict[str, int]:
        return {domain: len(paths) for domain, paths in self.paths.items()}

    def manifest(self, cache_dir: Path | None) -> Manifest:
        """The manifest, which identifies the images; InputError naming every file that cannot be read."""
        return read_manifest(self.root, itertools.chain.from_iterable(self.paths.values()), cache_dir)


def scan_folders(root: Path, domains: Sequence[str] | None = None) -> Scan:
    """List a tree without checking it; only the named domains, if any are given.

    As torchvision's ImageFolder, it reads the images of a class folder and of all folders below it. Hidden files and
    folders, files without an image's suffix, and images outside class folders are left out.

    Raises:
        InputError: the root is not a folder; or, all of them named, folders that cannot be listed and names that are no
            text.
    """
    if not is_folder(root):
        raise InputError([Fault("dataset.root", "must be a folder that holds domain/class/image", str(root))])
    listing = _Listing()
    folders = {
        domain.name: {folder.name: listing.images(folder) for folder in listing.subfolders(domain)}
        for domain in listing.subfolders(root)
        if domains is None or domain.name in domains
    }
    unfit = [os.path.relpath(path, root) for path in listing.unfit]
    if faults := [*listing.faults, *unfit_names("dataset.root", unfit)]:
        raise InputError(faults, source=str(root))
    return Scan(folders, dict(listing.left_out))


def folder_faults(
    folders: Folders,
    domains: Sequence[str] | None = None,
    n_classes: int | None = None,
    every_class: bool = True,
) -> list[Fault]:
    """The faults of a tree as a dataset.

    Args:
        folders: of the tree.
        domains, n_classes: what it must hold, where they are given.
        every_class: whether each domain must have images of each class.
    """
    faults = []
    if domains is not None and set(domains) - set(folders):
        missing = sorted(set(domains) - set(folders))
        faults.append(Fault("dataset.root", f"must hold a folder for each domain, lacks {missing}", list(folders)))
    if not folders:
        faults.append(Fault("dataset.root", "must hold domain folders"))
    if alike := list(_names_alike(folders)):
        rule = "names that differ only in their Unicode form (NFC and NFD) must be written alike; rename them to NFC"
        return [*faults, Fault("dataset.root", rule, alike)]  # comparing such names would confuse
    if stray := _stray_domains(folders):
        rule = "every folder must be a domain with the class folders of the others; move away those that are none"
        faults.append(Fault("dataset.root", rule, stray))
    domain_folders = {domain: found for domain, found in folders.items() if domain not in stray}
    times = Counter(name for found in domain_folders.values() for name in found)
    few = [name for name, count in times.items() if every_class and 2 * count < len(domain_folders)]
    if few:
        where = [f"{domain}/{name}" for domain, found in domain_folders.items() for name in few if name in found]
        rule = "a class folder must lie in every domain; move away those that lie in few, or add them to the others"
        faults.append(Fault("dataset.root", rule, shown(where)))
    classes = sorted(set(times) - set(few))
    for domain, found in domain_folders.items() if every_class else ():
        if lacking := [name for name in classes if name not in found]:
            rule = f"domain {domain!r} must have the class folders of the other domains, lacks {lacking}"
            faults.append(Fault("dataset.root", rule, list(found)))
        if empty := [name for name in classes if name in found and not found[name]]:
            rule = f"domain {domain!r} must have an image in each class folder, none in {empty}"
            faults.append(Fault("dataset.root", rule))
    if folders and not classes:
        faults.append(Fault("dataset.root", "must hold class folders in its domain folders", list(folders)))
    if len(classes) == 1:
        faults.append(Fault("dataset.root", "must hold two classes or more", classes))
    if n_classes is not None and len(classes) != n_classes:
        faults.append(Fault("dataset.root", f"must hold {n_classes} classes", len(classes)))
    return faults


def _names_alike(folders: Folders) -> Iterator[str]:
    """Names of domains and classes, in ASCII, that another name equals but for its Unicode form."""
    for names in (set(folders), {name for found in folders.values() for name in found}):
        forms = Counter(unicodedata.normalize("NFC", name) for name in names)
        yield from sorted(ascii(name)[1:-1] for name in names if forms[unicodedata.normalize("NFC", name)] > 1)


def _stray_domains(folders: Folders) -> list[str]:
    """Folders without a class folder of any other, where some others share classes."""
    times = Counter(name for found in folders.values() for name in found)
    if len(folders) > 2 and max(times.values(), default=0) > 1:
        return [domain for domain, found in folders.items() if not any(times[name] > 1 for name in found)]
    return [domain for domain, found in folders.items() if times and not found]


def read_tree(
    root: Path,
    domains: Sequence[str] | None = None,
    n_classes: int | None = None,
    every_class: bool = True,
    aliases: Mapping[str, str] = _NO_ALIASES,
) -> ImageTree:
    """List a tree (of these domains and as many classes, where given).

    Args:
        aliases: other names of domain folders -> the domain.

    Raises:
        InputError: with all its faults: no such folder, no domains or not the named ones, another number of classes,
            two folders of one domain; and, where each domain must have every class, domains whose classes differ or a
            class folder without an image.
    """
    scanned = scan_folders(root, None if domains is None else (*domains, *aliases)).folders
    places = domain_folders(scanned, aliases)
    folders = {domain: scanned[place] for domain, place in places.items()}
    if faults := folder_faults(folders, domains, n_classes, every_class):
        raise InputError(faults, source=str(root))
    classes = tuple(sorted({name for found in folders.values() for name in found}))
    return ImageTree(
        root,
        classes,
        {domain: tuple(image_paths({place: scanned[place]})) for domain, place in places.items()},
        {
            domain: tuple(label for label, name in enumerate(classes) for _ in found.get(name, ()))
            for domain, found in folders.items()
        },
    )


def domain_folders(found: Iterable[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """By domain, the folder that stands for it; sorted by domain.

    Raises:
        InputError: two folders of one domain.
    """
    places: dict[str, list[str]] = {}
    for folder in found:
        places.setdefault(aliases.get(folder, folder), []).append(folder)
    faults = [
        Fault("dataset.root", f"must hold one folder of domain {domain!r}", folders)
        for domain, folders in places.items()
        if len(folders) > 1
    ]
    if faults:
        raise InputError(faults)
    return {domain: folder for domain, (folder,) in sorted(places.items())}


def load_tree(
    name: str, tree: ImageTree, image_size: int, cache_dir: Path | None, progress: Progress | None = None
) -> Dataset:
    """Decode a tree, or map what an earlier call decoded.

    Args:
        name: the dataset's.
        tree: what to load.
        image_size: side in pixels at which images are stored.
        cache_dir: where the arrays lie (`image_cache.decoded_file`); None keeps them in memory.
        progress: called after each decoded image.

    Raises:
        InputError: naming every image, of all domains, that cannot be read, changed since the tree was listed, or does
            not open. Nothing that was decoded is left behind then.
        StorageError: the arrays do not fit on the disk, or cannot be written.
    """
    import torch

    manifest = tree.manifest(cache_dir)
    listed = {entry.path: entry for entry in manifest.entries}
    sizes = tree.domain_sizes
    files = {domain: decoded_file(cache_dir, manifest.digest, image_size, domain) for domain in sizes if cache_dir}
    to_decode = [domain for domain in sizes if not files or not is_decoded(files[domain], sizes[domain], image_size)]
    if cache_dir is not None and to_decode:
        require_room(cache_dir, sum(sizes[domain] for domain in to_decode), image_size)
    for file in files.values():
        require_private(file)
    domains: list[Domain] = []
    faults: list[Fault] = []
    for domain, paths in tree.paths.items():
        entries = [listed[path] for path in paths]
        on_decoded = _progress_of(progress, domain, to_decode, sizes)
        try:
            if files:
                images = images_on_disk(tree.root, entries, image_size, files[domain], on_decoded)
            else:
                images = images_in_memory(tree.root, entries, image_size, on_decoded)
        except InputError as error:
            faults += error.faults
        else:
            domains.append(Domain(domain, images, torch.tensor(tree.labels[domain]), paths, files.get(domain)))
    if faults:
        for domain in to_decode if files else ():
            files[domain].unlink(missing_ok=True)  # once the fault is fixed the tree has another digest
        if cache_dir is not None and any(fault.rule == CHANGED for fault in faults):
            forget(tree.root, cache_dir)
        raise InputError(faults, source=str(tree.root))
    return Dataset(name, tree.classes, tuple(domains), manifest.digest, normalise=True)


def decoding_seconds(root: Path, size: int) -> float:
    """Seconds that one core takes to read and decode a photograph of a tree: the mean over a sample from all of it.

    Args:
        root: of the tree.
        size: side in pixels at which images are stored.

    Raises:
        InputError: the tree cannot be listed.
        OSError: one of them cannot be opened.
    """
    paths = list(image_paths(scan_folders(root).folders))
    sample = paths[:: max(1, len(paths) // _TIMED_PHOTOGRAPHS)]
    return statistics.fmean(_decoding_seconds(root / path, size) for path in sample)


def _decoding_seconds(path: Path, size: int) -> float:
    image_bytes(path)  # into the page cache, as in a second epoch
    started = time.perf_counter()
    decode(image_bytes(path), size)
    return time.perf_counter() - started


def _progress_of(
    progress: Progress | None, domain: str, to_decode: Sequence[str], sizes: Mapping[str, int]
) -> OnDecoded | None:
    """Reports one domain's images to `progress`, counted on from the domains before it."""
    if progress is None or domain not in to_decode:
        return None
    before = sum(sizes[earlier] for earlier in to_decode[: to_decode.index(domain)])
    total = sum(sizes[each] for each in to_decode)
    return lambda done: progress(f"decoding {domain}", before + done, total)


def image_paths(folders: Folders) -> Iterator[str]:
    """Every image, relative to the root, with forward slashes; by domain, class and file."""
    for domain, classes in folders.items():
        for name, files in classes.items():
            yield from (f"{domain}/{name}/{file}" for file in files)


class _Listing:
    """Lists folders; collects faults and unfit names instead of raising."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.unfit: list[str] = []
        self.left_out: Counter[str] = Counter()

    def subfolders(self, folder: Path) -> list[Path]:
        folders, files = self._entries(folder)
        self.left_out["outside class folders"] += sum(_suffix(name) in IMAGE_SUFFIXES for name in files)
        return [folder / name for name in folders]

    def images(self, folder: Path) -> tuple[str, ...]:
        """The images in a class folder and below it: by folder, then by name, as torchvision orders them."""
        found: list[tuple[str, str]] = []
        waiting, visited = [""], {_identity(folder.parent), _identity(folder.parent.parent)}
        while waiting:
            below = waiting.pop()
            if (place := _identity(folder / below)) in visited:  # by a link, perhaps to the domain
                self.left_out["folders that another name leads to"] += 1
                continue
            visited.add(place)
            folders, files = self._entries(folder / below)
            waiting += [f"{below}{name}/" for name in folders]
            for name in files:
                if _suffix(name) in IMAGE_SUFFIXES:
                    found.append((below, name))
                else:
                    self.left_out[f"of suffix {_suffix(name)!r}" if _suffix(name) else "without a suffix"] += 1
        self.unfit.extend(str(folder / below / name) for below, name in found if not is_plain(name))
        return tuple(below + name for below, name in sorted(found))

    def _entries(self, folder: Path) -> tuple[list[str], list[str]]:
        """The names of folders and of other files in a folder, without hidden ones."""
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(folder) as entries:  # no stat of each entry: trees have 10**5
                for entry in entries:
                    if is_hidden(entry.name):
                        self.left_out["hidden"] += 1
                    else:
                        (folders if _is_folder(entry) else files).append(entry.name)
        except OSError as error:
            self.faults.append(Fault("dataset.root", f"folder must be readable ({error.strerror})", str(folder)))
        self.unfit.extend(str(folder / name) for name in folders if not is_plain(name))
        return sorted(folders), files


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  pathlib takes five times as long


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:  # listing it reports the reason
        return None
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
