"""Describe, load and check a dataset by its name: embedded digits, trees of photographs, installed packages."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gga_sweep.datasets.catalogue import BENCHMARKS, EMBEDDED, Benchmark
from gga_sweep.datasets.dataset import Dataset, DatasetDescription
from gga_sweep.datasets.dataset_check import DatasetCheck, DomainCount, check_tree
from gga_sweep.datasets.files import Progress, expanded, is_folder
from gga_sweep.datasets.image_folder import DEFAULT_IMAGE_SIZE, ImageTree, load_tree, read_tree
from gga_sweep.errors import Fault, GGASweepError, InputError

if TYPE_CHECKING:
    from gga_sweep.datasets.config import DatasetConfig

IMAGE_FOLDER = "ImageFolder"


def holds_photographs(name: str) -> bool:
    """Whether a dataset, as a sweep file names it, is a tree of photographs, decoded into a cache."""
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
    return EMBEDDED[config.name].digest() if config.name in EMBEDDED else _call_installed(config).digest


def describe(config: DatasetConfig) -> DatasetDescription:
    """Domains, counts, classes and image shape. Opens no image.

    A benchmark whose root is missing is described as published, with `available` False. Raises as `load_dataset`, and
    for a missing root of a benchmark whose images are not published for each domain.
    """
    if (tree := _tree(config)) is not None:
        return tree.describe()
    if config.name in EMBEDDED:
        return EMBEDDED[config.name].describe()
    made = _call_installed(config)
    return DatasetDescription(
        made.name, made.domain_sizes, len(made.classes), made.classes, made.input_shape, available=True
    )


def check_dataset(config: DatasetConfig, progress: Progress | None = None) -> DatasetCheck:
    """Compare a dataset with the published one, domain by domain, and open every image.

    Args:
        config: which. A benchmark or an ImageFolder needs its root.
        progress: called after each opened image.

    Raises:
        InputError: unknown name, an option the dataset does not have, a missing root. Faults inside the tree
            are part of the result.
    """
    if (tree := _tree(config)) is not None:
        return check_tree(tree.name, tree.given_root(), tree.benchmark, progress)
    made = _made(config)
    domains = tuple(DomainCount(domain.name, len(domain), published=None) for domain in made.domains)
    return DatasetCheck(made.name, domains, sum(made.domain_sizes.values()), made.classes)


def known_datasets() -> tuple[DatasetDescription, ...]:
    """The named datasets: the embedded ones, then the benchmarks as published.

    A benchmark whose images are not published for each domain is left out: see `uncounted_benchmarks`.
    """
    embedded = tuple(entry.describe() for entry in EMBEDDED.values())
    counted = [benchmark for benchmark in BENCHMARKS.values() if benchmark.images is None]
    return embedded + tuple(_published(benchmark, DEFAULT_IMAGE_SIZE) for benchmark in counted)


def uncounted_benchmarks() -> tuple[Benchmark, ...]:
    """The benchmarks of which only the number of all images together is published."""
    return tuple(benchmark for benchmark in BENCHMARKS.values() if benchmark.images is not None)


@dataclass(frozen=True)
class _Tree:
    """A tree of photographs; `benchmark` is None for an unknown one."""

    name: str
    root: Path | None
    image_size: int
    benchmark: Benchmark | None

    def describe(self) -> DatasetDescription:
        if self.benchmark is not None and (self.root is None or not is_folder(self.root)):
            return _published(self.benchmark, self.image_size)
        tree = self.read()
        shape = (3, self.image_size, self.image_size)
        return DatasetDescription(self.name, tree.domain_sizes, len(tree.classes), tree.classes, shape, available=True)

    def read(self) -> ImageTree:
        if self.benchmark is None:
            return read_tree(self.given_root())
        published = self.benchmark
        return read_tree(self.given_root(), tuple(published.domain_sizes), published.n_classes, published.every_class)

    def given_root(self) -> Path:
        if self.root is None:
            fault = Fault("dataset.root", f"{self.name} needs the folder that holds domain/class/image")
            raise InputError([fault], source=f"dataset {self.name}")
        return self.root


def _tree(config: DatasetConfig) -> _Tree | None:
    """The tree of photographs that a configuration names; None if its dataset is embedded or installed.

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
    if config.name == IMAGE_FOLDER or config.name in BENCHMARKS:
        root = None if config.root is None else expanded(config.root, "dataset.root")
        return _Tree(config.name, root, config.image_size or DEFAULT_IMAGE_SIZE, BENCHMARKS.get(config.name))
    if ":" in config.name:
        return None
    allowed = (*EMBEDDED, IMAGE_FOLDER, *BENCHMARKS, "module:attribute")
    raise InputError([Fault("dataset.name", "must be a known dataset", config.name, allowed)])


def _made(config: DatasetConfig) -> Dataset:
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
    sizes = {domain: size for domain, size in benchmark.domain_sizes.items() if size is not None}
    if benchmark.images is not None:
        rule = f"{benchmark.name} needs its folder, since the images of each domain are not published"
        raise InputError([Fault("dataset.root", rule)], source=f"dataset {benchmark.name}")
    shape = (3, image_size, image_size)
    return DatasetDescription(
        benchmark.name, sizes, benchmark.n_classes, classes=None, image_shape=shape, available=False
    )
