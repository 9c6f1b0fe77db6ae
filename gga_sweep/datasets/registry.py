"""Describe, load and check a dataset by its name.

They are embedded digits, MNIST's files, photographs, and those of installed packages.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gga_sweep.datasets.catalogue import BENCHMARKS, EMBEDDED, FROM_FILES, Benchmark
from gga_sweep.datasets.dataset import Dataset, DatasetDescription
from gga_sweep.datasets.dataset_check import DatasetCheck, DomainCount, check_tree, size_differences
from gga_sweep.datasets.files import Progress, expanded, is_folder
from gga_sweep.datasets.image_folder import DEFAULT_IMAGE_SIZE, ImageTree, load_tree, read_tree
from gga_sweep.errors import Fault, GGASweepError, InputError

if TYPE_CHECKING:
    from gga_sweep.datasets.config import DatasetConfig

IMAGE_FOLDER = "ImageFolder"
_TREE = "the folder that holds domain/class/image"


def holds_photographs(name: str) -> bool:
    """Whether a dataset, as a sweep file names it, is of photographs, decoded into a cache."""
    return name == IMAGE_FOLDER or name in BENCHMARKS


def decoded_bytes(dataset: DatasetDescription, name: str) -> int:
    """Disk space of the decoded images: a byte a pixel and channel; 0 for datasets that are made in memory.

    Args:
        name: of the dataset, as a sweep file writes it.
    """
    return sum(dataset.domain_sizes.values()) * math.prod(dataset.image_shape) if holds_photographs(name) else 0


def load_dataset(config: DatasetConfig, cache_dir: Path | None, progress: Progress | None = None) -> Dataset:
    """The dataset itself.

    Args:
        config: which.
        cache_dir: for content hashes and decoded photographs; None reads and decodes each time.
        progress: called after each decoded photograph; not at all where the cache holds them.

    Raises:
        InputError: unknown name, an option the dataset does not have, missing root, a tree with faults, images that
            do not open or change meanwhile (all of them named).
        StorageError: decoded photographs cannot be written.
    """
    tree = _tree(config)
    return _made(config) if tree is None else load_tree(tree.name, tree.read(), tree.image_size, cache_dir, progress)


def has_photographs(config: DatasetConfig) -> bool:
    """Whether the dataset is a tree of photographs, which are decoded once for all runs. Raises as `load_dataset`."""
    return _tree(config) is not None


def dataset_digest(config: DatasetConfig, cache_dir: Path | None) -> str:
    """The digest of the dataset's content, 32 hex digits. Decodes no image; raises as `load_dataset`."""
    if (tree := _tree(config)) is not None:
        return tree.read().manifest(cache_dir).digest
    if config.name in FROM_FILES:
        return FROM_FILES[config.name].digest(_given_root(config))
    return EMBEDDED[config.name].digest() if config.name in EMBEDDED else _call_installed(config).digest


def describe(config: DatasetConfig) -> DatasetDescription:
    """Domains, counts, classes and image shape. Opens no image.

    A benchmark whose root is missing is described as published, with `available` False. Raises as `load_dataset`, and
    for a missing root of a benchmark whose images are not published for each domain.
    """
    if (tree := _tree(config)) is not None:
        return tree.describe()
    if config.name in FROM_FILES:
        there = config.root is not None and is_folder(_given_root(config))
        return FROM_FILES[config.name].describe(_given_root(config) if there else None)
    if config.name in EMBEDDED:
        return EMBEDDED[config.name].describe()
    made = _call_installed(config)
    return DatasetDescription(
        made.name, made.domain_sizes, len(made.classes), made.classes, made.input_shape, available=True
    )


def domain_labels(config: DatasetConfig) -> dict[str, NDArray[np.int64]]:
    """The labels of each domain's images, in the order that splits refer to. Opens no photograph.

    Args:
        config: of a dataset that is available. Raises as `load_dataset`.
    """
    if (tree := _tree(config)) is not None:
        return {domain: np.array(labels, np.int64) for domain, labels in tree.read().labels.items()}
    return {domain.name: domain.labels.numpy() for domain in _made(config).domains}


def check_dataset(config: DatasetConfig, progress: Progress | None = None) -> DatasetCheck:
    """Compare a dataset with the published one, domain by domain, and open every image.

    Args:
        config: which. All but the embedded and the installed ones need a root.
        progress: called after each opened image.

    Raises:
        InputError: unknown name, an option the dataset does not have, a missing root. Faults inside the tree
            are part of the result.
    """
    if (tree := _tree(config)) is not None:
        return check_tree(tree.name, _given_root(config), tree.benchmark, progress)
    if config.name in FROM_FILES:
        entry = FROM_FILES[config.name]
        found, published = entry.describe(_given_root(config)), entry.describe(None).domain_sizes
        sizes = found.domain_sizes
        counts = tuple(DomainCount(domain, size, published[domain]) for domain, size in sizes.items())
        differences = tuple(size_differences(published, sizes))
        return DatasetCheck(entry.name, counts, sum(sizes.values()), found.classes or (), differences=differences)
    made = _made(config)
    domains = tuple(DomainCount(domain.name, len(domain), published=None) for domain in made.domains)
    return DatasetCheck(made.name, domains, sum(made.domain_sizes.values()), made.classes)


def known_datasets() -> tuple[DatasetDescription, ...]:
    """The named datasets: the embedded ones, then the others as published.

    A benchmark whose images are not published for each domain is left out: see `uncounted_benchmarks`.
    """
    embedded = tuple(entry.describe() for entry in EMBEDDED.values())
    from_files = tuple(entry.describe(None) for entry in FROM_FILES.values())
    counted = [benchmark for benchmark in BENCHMARKS.values() if benchmark not in uncounted_benchmarks()]
    return (*embedded, *from_files, *(_published(benchmark, DEFAULT_IMAGE_SIZE) for benchmark in counted))


def uncounted_benchmarks() -> tuple[Benchmark, ...]:
    """The benchmarks of which the images of each domain are not published; at most those of all together."""
    return tuple(entry for entry in BENCHMARKS.values() if len(entry.published_sizes) < len(entry.domain_sizes))


def domain_aliases(dataset: str) -> Mapping[str, str]:
    """Other names of a dataset's domains, each with the domain; by the dataset's name."""
    return BENCHMARKS[dataset].aliases if dataset in BENCHMARKS else {}


def what_root_must_be(dataset: str) -> str:
    """What `dataset.root` must be, in words; by the dataset's name."""
    entry = FROM_FILES.get(dataset) or BENCHMARKS.get(dataset)
    return _TREE if entry is None else entry.needs


@dataclass(frozen=True)
class _Tree:
    """A dataset of photographs; `benchmark` is None for an unknown tree."""

    name: str
    root: Path | None
    image_size: int
    benchmark: Benchmark | None

    def describe(self) -> DatasetDescription:
        if self.benchmark is not None and (self.root is None or not is_folder(self.root)):
            return _published(self.benchmark, self.image_size)
        tree = self.read()
        shape = (3, self.image_size, self.image_size)
        remarks = () if self.benchmark is None else _remarks(self.benchmark)
        sizes, classes = tree.domain_sizes, tree.classes
        return DatasetDescription(self.name, sizes, len(classes), classes, shape, available=True, remarks=remarks)

    def read(self) -> ImageTree:
        root, benchmark = _root(self.name, self.root), self.benchmark
        if benchmark is None:
            return read_tree(root)
        if benchmark.list_images is not None:
            return benchmark.list_images(root)
        return read_tree(
            root, tuple(benchmark.domain_sizes), benchmark.n_classes, benchmark.every_class, benchmark.aliases
        )


def _given_root(config: DatasetConfig) -> Path:
    return _root(config.name, None if config.root is None else expanded(config.root, "dataset.root"))


def _root(name: str, root: Path | None) -> Path:
    if root is None:
        fault = Fault("dataset.root", f"{name} needs {what_root_must_be(name)}")
        raise InputError([fault], source=f"dataset {name}")
    return root


def _tree(config: DatasetConfig) -> _Tree | None:
    """The photographs that a configuration names; None if its dataset is embedded, made from files, or installed.

    Raises:
        InputError: unknown name, or an option that the dataset does not have.
    """
    if config.name in EMBEDDED:
        given = {"root": config.root, "image_size": config.image_size}
        faults = [
            Fault(f"dataset.{field}", f"{config.name} is embedded and has none", str(value))
            for field, value in given.items()
            if value is not None
        ]
        if faults:
            raise InputError(faults, source=f"dataset {config.name}")
        return None
    if config.name in FROM_FILES:
        if config.image_size is not None:
            fault = Fault("dataset.image_size", f"{config.name} has images of one size", config.image_size, ("28",))
            raise InputError([fault], source=f"dataset {config.name}")
        return None
    if config.name == IMAGE_FOLDER or config.name in BENCHMARKS:
        root = None if config.root is None else expanded(config.root, "dataset.root")
        return _Tree(config.name, root, config.image_size or DEFAULT_IMAGE_SIZE, BENCHMARKS.get(config.name))
    if ":" in config.name:
        return None
    allowed = (*EMBEDDED, *FROM_FILES, IMAGE_FOLDER, *BENCHMARKS, "module:attribute")
    raise InputError([Fault("dataset.name", "must be a known dataset", config.name, allowed)])


def _made(config: DatasetConfig) -> Dataset:
    if config.name in FROM_FILES:
        return FROM_FILES[config.name].load(_given_root(config))
    return EMBEDDED[config.name].load() if config.name in EMBEDDED else _call_installed(config)


@lru_cache(maxsize=4)
def _call_installed(config: DatasetConfig) -> Dataset:
    """The dataset of a callable `(DatasetConfig) -> Dataset`, made once per process and configuration."""
    module_name, _, attribute = config.name.partition(":")
    try:
        make = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # a module may raise anything while it is imported
        rule = f"must name an attribute of an installed module ({error})"
        raise InputError([Fault("dataset.name", rule, config.name)]) from error
    try:
        dataset = make(config) if callable(make) else make
    except GGASweepError:
        raise
    except Exception as error:
        rule = f"must make a dataset of a DatasetConfig, but failed ({type(error).__name__}: {error})"
        raise InputError([Fault("dataset.name", rule, config.name)]) from error
    if not isinstance(dataset, Dataset):
        rule = "must name a callable that takes a DatasetConfig and returns a gga_sweep.datasets.Dataset"
        raise InputError([Fault("dataset.name", rule, f"{config.name} ({type(dataset).__name__})")])
    return dataset


def _published(benchmark: Benchmark, image_size: int) -> DatasetDescription:
    if benchmark in uncounted_benchmarks():
        rule = f"{benchmark.name} needs its folder, since the images of each domain are not published"
        raise InputError([Fault("dataset.root", rule)], source=f"dataset {benchmark.name}")
    return DatasetDescription(
        benchmark.name,
        benchmark.published_sizes,
        benchmark.n_classes,
        classes=None,
        image_shape=(3, image_size, image_size),
        available=False,
        remarks=_remarks(benchmark),
    )


def _remarks(benchmark: Benchmark) -> tuple[str, ...]:
    meant = benchmark.traits.test_domains
    return (f"made to be tested on {' and '.join(meant)} (test_domains: [{', '.join(meant)}])",) if meant else ()
