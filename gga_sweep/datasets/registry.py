"""Describe, load and check a dataset by its name: embedded digits, trees of photographs, installed packages."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gga_sweep.datasets.catalogue import BENCHMARKS, EMBEDDED, Benchmark, Embedded
from gga_sweep.datasets.dataset import Dataset, DatasetDescription
from gga_sweep.datasets.dataset_check import DatasetCheck, check_of_tensors, check_tree
from gga_sweep.datasets.files import Progress, expanded, is_folder
from gga_sweep.datasets.image_folder import DEFAULT_IMAGE_SIZE, ImageTree, load_tree, read_tree
from gga_sweep.errors import Fault, GGASweepError, InputError

if TYPE_CHECKING:
    from gga_sweep.datasets.config import DatasetConfig

IMAGE_FOLDER = "ImageFolder"


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
    return _source(config).load(cache_dir, progress)


def dataset_digest(config: DatasetConfig, cache_dir: Path | None) -> str:
    """The digest of the dataset's content, 32 hex digits. Decodes no image; raises as `load_dataset`."""
    return _source(config).digest(cache_dir)


def describe(config: DatasetConfig) -> DatasetDescription:
    """Domains, counts, classes and image shape. Opens no image.

    A benchmark whose root is missing is described as published, with `available` False. Raises as `load_dataset`.
    """
    return _source(config).describe()


def check_dataset(config: DatasetConfig, progress: Progress | None = None) -> DatasetCheck:
    """Compare a dataset with the published one, domain by domain, and open every image.

    Args:
        config: which. A benchmark or an ImageFolder needs its root.
        progress: called after each opened image.

    Raises:
        InputError: unknown name, an option the dataset does not have, a missing root. Faults inside the tree
            are part of the result.
    """
    return _source(config).check(progress)


def known_datasets() -> tuple[DatasetDescription, ...]:
    """The datasets with a name of their own: the embedded ones, then the benchmarks as published."""
    embedded = tuple(entry.describe() for entry in EMBEDDED.values())
    return embedded + tuple(_published(benchmark, DEFAULT_IMAGE_SIZE) for benchmark in BENCHMARKS.values())


class _Source(Protocol):
    """The source of a dataset; its methods are those of this module."""

    def describe(self) -> DatasetDescription: ...

    def digest(self, cache_dir: Path | None) -> str: ...

    def load(self, cache_dir: Path | None, progress: Progress | None) -> Dataset: ...

    def check(self, progress: Progress | None) -> DatasetCheck: ...


@dataclass(frozen=True)
class _Embedded:
    entry: Embedded

    def describe(self) -> DatasetDescription:
        return self.entry.describe()

    def digest(self, cache_dir: Path | None) -> str:
        return self.entry.digest()

    def load(self, cache_dir: Path | None, progress: Progress | None) -> Dataset:
        return self.entry.load()

    def check(self, progress: Progress | None) -> DatasetCheck:
        return _check_loaded(self.entry.load())


@dataclass(frozen=True)
class _Tree:
    """A tree of photographs; `benchmark` says which, if it is a known one."""

    name: str
    root: Path | None
    image_size: int
    benchmark: Benchmark | None

    def describe(self) -> DatasetDescription:
        if self.benchmark is not None and (self.root is None or not is_folder(self.root)):
            return _published(self.benchmark, self.image_size)
        tree = self._read()
        shape = (3, self.image_size, self.image_size)
        return DatasetDescription(self.name, tree.domain_sizes, len(tree.classes), tree.classes, shape, available=True)

    def digest(self, cache_dir: Path | None) -> str:
        return self._read().manifest(cache_dir).digest

    def load(self, cache_dir: Path | None, progress: Progress | None) -> Dataset:
        return load_tree(self.name, self._read(), self.image_size, cache_dir, progress)

    def check(self, progress: Progress | None) -> DatasetCheck:
        return check_tree(self.name, self._given_root(), self.benchmark, progress)

    def _read(self) -> ImageTree:
        if self.benchmark is None:
            return read_tree(self._given_root())
        return read_tree(self._given_root(), tuple(self.benchmark.domain_sizes), self.benchmark.n_classes)

    def _given_root(self) -> Path:
        if self.root is None:
            fault = Fault("dataset.root", f"{self.name} needs the folder that holds domain/class/image")
            raise InputError([fault], source=f"dataset {self.name}")
        return self.root


@dataclass(frozen=True)
class _Installed:
    """A callable `(DatasetConfig) -> Dataset` of an installed package; called once a process and configuration."""

    config: DatasetConfig

    def describe(self) -> DatasetDescription:
        dataset = _call_installed(self.config)
        sizes = {domain.name: len(domain) for domain in dataset.domains}
        return DatasetDescription(
            dataset.name, sizes, len(dataset.classes), dataset.classes, dataset.input_shape, available=True
        )

    def digest(self, cache_dir: Path | None) -> str:
        return _call_installed(self.config).digest

    def load(self, cache_dir: Path | None, progress: Progress | None) -> Dataset:
        return _call_installed(self.config)

    def check(self, progress: Progress | None) -> DatasetCheck:
        return _check_loaded(_call_installed(self.config))


def _source(config: DatasetConfig) -> _Source:
    if config.name in EMBEDDED:
        given = {"root": config.root, "image_size": config.image_size}
        faults = [
            Fault(f"dataset.{field}", f"{config.name} is embedded and has none", str(value))
            for field, value in given.items()
            if value is not None
        ]
        if faults:
            raise InputError(faults, source=f"dataset {config.name}")
        return _Embedded(EMBEDDED[config.name])
    if config.name == IMAGE_FOLDER or config.name in BENCHMARKS:
        root = None if config.root is None else expanded(config.root, "dataset.root")
        return _Tree(config.name, root, config.image_size or DEFAULT_IMAGE_SIZE, BENCHMARKS.get(config.name))
    if ":" in config.name:
        return _Installed(config)
    allowed = (*EMBEDDED, IMAGE_FOLDER, *BENCHMARKS, "module:attribute")
    raise InputError([Fault("dataset.name", "must be a known dataset", config.name, allowed)])


@lru_cache(maxsize=4)
def _call_installed(config: DatasetConfig) -> Dataset:
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
    shape = (3, image_size, image_size)
    return DatasetDescription(
        benchmark.name, benchmark.domain_sizes, benchmark.n_classes, classes=None, image_shape=shape, available=False
    )


def _check_loaded(dataset: Dataset) -> DatasetCheck:
    sizes = {domain.name: len(domain) for domain in dataset.domains}
    return check_of_tensors(dataset.name, sizes, dataset.classes)
